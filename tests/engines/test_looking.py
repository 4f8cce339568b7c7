"""`qpipe inspect` on what engines really make."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

from tests.cli import called
from tests.engines.running import Bench
from tests.engines.ways import EIGHT, FOUR

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engines")]
TOOLS = {
    "GPTQ-4bit-g128": "gptqmodel",
    "GPTQ-4bit-g128-actorder": "gptqmodel",
    "AWQ-4bit-g128": "gptqmodel",
    "W4A16-g128": "compressed-tensors",
    "W8A8": "compressed-tensors",
}
GROUPS = {"bnb-NF4": [64], "W8A8": [-1], "bnb-INT8": [-1], "ao-W8A16": [-1]}


@pytest.mark.parametrize(("label", "how"), [*FOUR.items(), *EIGHT.items()], ids=str)
def test_inspect(bench: Bench, label: str, how: tuple[str, ...]) -> None:
    row = bench.rows(*how)[-1]
    answer = called("inspect", row["artifact"], "--json", cwd=bench.folder)
    assert answer.code == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found["file_type"] == label
    assert found["bits_per_weight"] == row["bits_per_weight"]
    assert found["parameters"] == 3_410_176
    packed = found["quantization"]
    bits = 4 if label in FOUR else 8
    assert packed["bits"] == [bits]
    assert packed["group_sizes"] == GROUPS.get(label, [128])
    assert bits < packed["bits_per_weight"] < bits + 0.6
    assert (packed["modules"], packed["weights"]) == (28, 3_145_728)
    assert packed["kept"] == ["model.embed_tokens.weight"]
    tool = TOOLS.get(label)
    assert packed["tool"] == (f"{tool} {version(tool)}" if tool else None)
    assert found["made_by"]["key"] == row["key"]
