"""The tables that were measured here: each engine that runs on a CPU, in short, comes to its row.

A new version of an engine that moves a figure out of its interval fails here, by the row's name;
then either its row in recipes/published/qpipe-short.yaml is measured anew, or the engine is wrong.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli import qpipe

ENGINES = {"gptqmodel", "llmcompressor", "torchao", "bitsandbytes", "auto-round"}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_engine_comes_to_its_published_row(tmp_path: Path) -> None:
    answer = qpipe("repro", "qpipe-short", "--json", cwd=tmp_path, timeout=1500)
    rows = json.loads(answer.stdout)["rows"]
    wrong = [
        f"{row['format']} {row['metric']}: {row['verdict']}: {row['why']}"
        for row in rows
        if row["verdict"] != "reproduced"
    ]
    assert not wrong, "\n".join(wrong)
    assert answer.code == 0
    assert {row["engine"] for row in rows} >= ENGINES
    assert {row["metric"].split(" ")[0].split("[")[0] for row in rows} >= {
        *("size", "bpw", "ppl", "ppl_delta", "kld", "acc"),
    }
