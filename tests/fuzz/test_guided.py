"""Each reader fuzzed by coverage: ten minutes of it, in `make soak` alone (SECONDS=60 for less)."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from tests.fuzz import guided
from tests.fuzz.readers import TARGETS

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded by Linux's means"),
    pytest.mark.skipif(
        importlib.util.find_spec("atheris") is None,
        reason="needs atheris, which is there for x86-64: pip install -e '.[dev,soak]'",
    ),
]


@pytest.mark.parametrize("target", TARGETS)
def test_guided(target: str) -> None:
    seconds = float(os.environ.get("QPIPE_SOAK_SECONDS", guided.SECONDS))
    found = guided.run(target, seconds=seconds)
    print(json.dumps({key: value for key, value in found.items() if key != "faults"}))
    assert not found["faults"], json.dumps(found["faults"][:3], indent=1).replace("\\n", "\n")
    assert found["counts"]["read"] and found["counts"]["refused"]


def test_what_is_looked_for_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch that none of the first inputs reaches, behind two numbers, raises: coverage leads
    there."""
    package = tmp_path / "qpipe_planted.py"
    package.write_text(
        "def read(data):\n"
        "    if data[:1] == b'q':\n"
        "        if data[1:2] == b'p':\n"
        "            if data[2:3] == b'!':\n"
        "                raise KeyError('planted')\n"
    )
    code = (
        "import atheris, sys\n"
        "with atheris.instrument_imports(include=['qpipe_planted']):\n"
        "    import qpipe_planted\n"
        "from tests.fuzz import readers\n"
        "from tests.fuzz.targets import Target\n"
        "def read(folder): qpipe_planted.read((folder / 'x').read_bytes())\n"
        "make = lambda folder: (folder / 'x').write_bytes(b'good')\n"
        "readers.TARGETS['planted'] = Target(make, {'x': (lambda data, random: data,)}, read)\n"
    )
    (tmp_path / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    found = guided.run("planted", seconds=30)
    assert any("KeyError: 'planted'" in fault["how"] for fault in found["faults"])
