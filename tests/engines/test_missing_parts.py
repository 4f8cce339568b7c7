"""What engines really make, without a part of a matrix: refused, and not filled with numbers."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.cli import environment
from tests.engines.running import ROOT, Bench
from tests.engines.ways import EIGHT, FOUR, LEARNED, RTN

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engines")]


def test_no_part_is_made_up(bench: Bench) -> None:
    ways = [RTN, *FOUR.values(), *EIGHT.values(), *LEARNED.values()]
    folders = [str(bench.artifact(*way)) for way in ways]
    done = subprocess.run(
        [sys.executable, "-m", "tests.engines.without_a_part", *folders],
        cwd=ROOT, env=environment({"HF_HUB_OFFLINE": "1"}), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == len(set(folders))
    for folder, outcomes in found.items():
        assert len(outcomes) >= 2, folder
        for part, outcome in outcomes.items():
            assert re.search(r"lacks|cannot load this checkpoint", outcome), (part, outcome)
