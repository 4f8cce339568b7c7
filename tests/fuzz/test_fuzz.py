"""Damaged and hostile files of every kind: read, or refused in words of ours, soon and small.

The same inputs each time. One is read again with
``python -m tests.fuzz.work TARGET SEED NUMBER NUMBER+1``; `make soak` reads twenty times as many,
of other seeds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli import environment
from tests.fuzz.readers import READERS, TARGETS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SEED = "1"
INPUTS = 1500
MANY = 15_000  # with which each target took some minutes


class Reading:
    """Processes that read inputs, each of its own and with a bounded memory; what all import is
    imported once."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def fuzz(self, target: str, seed: str, first: int, last: int) -> dict[str, Any]:
        """Read the inputs ``first`` to ``last``."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(target, seed, first, last, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer.strip(), "it ended otherwise; its stderr says why"
        found: dict[str, Any] = json.loads(answer)
        return found


@pytest.fixture(scope="module")
def reading() -> Iterator[Reading]:
    command = [sys.executable, "-m", "tests.fuzz.work"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        yield Reading(process)


def check(found: dict[str, Any], inputs: int) -> None:
    assert not found["failures"], json.dumps(found["failures"][:3], indent=1).replace("\\n", "\n")
    counts = found["counts"]
    assert counts["read"] + counts["refused"] == inputs
    # Damage that is never noticed, or always, would test nothing.
    assert min(counts["read"], counts["refused"]) > inputs // 25


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded by Linux's means")
@pytest.mark.parametrize("target", TARGETS)
def test_damaged_inputs(target: str, reading: Reading) -> None:
    inputs = INPUTS // 3 if target in READERS else INPUTS
    check(reading.fuzz(target, SEED, 0, inputs), inputs)


@pytest.mark.soak
@pytest.mark.parametrize("seed", ["2", "3"])
@pytest.mark.parametrize("target", TARGETS)
def test_many_damaged_inputs(target: str, seed: str, reading: Reading) -> None:
    check(reading.fuzz(target, seed, 0, MANY), MANY)


def test_what_is_looked_for_is_found(tmp_path: Path) -> None:
    """A reader that raises, never ends or takes all memory is a failure, and each by its name."""
    code = (
        "import sys; from tests.fuzz import work\n"
        "from tests.fuzz.targets import Target\n"
        "def read(folder):\n"
        "    data = (folder / 'x').read_bytes()\n"
        "    if data == b'good': return\n"
        "    number = sum(data) % 3\n"
        "    if number == 0: raise KeyError('x')\n"
        "    if number == 1: bytes(1 << 34)\n"
        "    while True: pass\n"
        "make = lambda folder: (folder / 'x').write_bytes(b'good')\n"
        "change = lambda data, random: bytes([random.randrange(3)])\n"
        "work.TARGETS['bad'] = Target(make, {'x': (change,)}, read)\n"
        "work.SECONDS = 0.05\n"
        "import json; print(json.dumps(work.main('bad', '1', 0, 12)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["counts"] == {"bad": 12}
    endings = {failure["how"].strip().splitlines()[-1] for failure in found["failures"]}
    assert {"KeyError: 'x'", "MemoryError"} <= endings
    assert any(failure["how"].startswith("took more than") for failure in found["failures"])
