"""The tables that ship: every value has a verdict, and no predicted size is off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qpipe.published.load import load, shipped_tables
from tests.cli import called, qpipe


def test_no_size_is_off(tmp_path: Path) -> None:
    said = called("repro", "--only", "sizes", "--json", cwd=tmp_path)
    assert said.code == 0, said.stderr
    rows = json.loads(said.stdout)["rows"]
    assert {row["verdict"] for row in rows} <= {"reproduced", "not_comparable"}
    assert len(rows) > 100


@pytest.mark.slow
def test_every_value_has_a_verdict_in_a_plan(tmp_path: Path) -> None:
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
    said = qpipe("repro", "--plan", "--json", cwd=tmp_path, env=env, timeout=300)
    assert said.code == 0, said.stderr
    rows = json.loads(said.stdout)["rows"]
    assert len(rows) == sum(len(load(path).values) for path in shipped_tables().values())
    words = {row["verdict"] for row in rows}
    assert words == {"would_run", "not_comparable", "cannot_run"}
    assert all(row["why"] for row in rows)
    assert not (tmp_path / "outputs" / "runs").exists()
