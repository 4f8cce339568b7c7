"""A sweep in which a level is larger than another and worse: it ends early, and says so."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cli import Answer, environment, qpipe
from tests.killing import files_below, kill_with_workers

STORIES = Path(__file__).parent.parent / "data" / "models" / "stories260K"
TEXT = Path(__file__).parent.parent / "data" / "texts" / "tinystories_train_head_ascii.txt"
ASKED = (
    *("run", "local", f"model.source={STORIES}", "evaluate=kld", f"evaluate.text={TEXT}"),
    *("evaluate.n_ctx=64", "evaluate.chunks=230", "--json", "-m"),
)
# Q8_0 with four bits for the embeddings, which are the output matrix too, is larger than Q4_K_M
# and far worse.
LEVELS = ("quantize.type=Q8_0,Q4_K_M", "quantize.token_embedding_type=Q4_0,null")
STOP = "evaluate.stop_dominated=true"
DAMAGED = "Q8_0 token_embedding_type=Q4_0"


def _rows(answer: Answer) -> dict[str, dict[str, Any]]:
    """The rows by name, each with its measurement against the reference as ``kld_of``."""
    return {
        row["name"]: {**row, "kld_of": m}
        for row in json.loads(answer.stdout)["rows"]
        for m in row["measurements"]
        if m["metric"] == "kld"
    }


def _files(row: Mapping[str, Any]) -> list[bytes]:
    folder = Path(row["kld_of"]["artifact"])
    return [(folder / name).read_bytes() for name in ("result.json", "sums.npy")]


@pytest.fixture(scope="module")
def stopping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep that stopped what is dominated."""
    folder = tmp_path_factory.mktemp("stopping")
    answer = qpipe(*ASKED, *LEVELS, STOP, cwd=folder)
    assert answer.code == 0, answer
    (folder / "answer.json").write_text(answer.stdout)
    return folder


def _rows_in(folder: Path) -> dict[str, dict[str, Any]]:
    return _rows(Answer(0, (folder / "answer.json").read_text(), ""))


@pytest.mark.slow
@pytest.mark.xdist_group("dominated")
def test_a_dominated_level_ends_early_and_the_others_are_what_they_are(
    stopping: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    full = _rows(qpipe(*ASKED, *LEVELS, cwd=plain))
    rows = _rows_in(stopping)
    assert len(rows) == 4
    damaged = rows.pop(DAMAGED)
    for name, row in rows.items():
        assert _files(row) == _files(full[name]), name
        assert (row["dominated_by"], row["cut_short"]) == (None, [])
    by = damaged["kld_of"]["dominated_by"]
    assert damaged["dominated_by"] == by["name"] == "Q4_K_M token_embedding_type=null"
    assert by["size_bytes"] == rows[by["name"]]["size_bytes"] < damaged["size_bytes"]
    better = full[DAMAGED]["kld"] - rows[by["name"]]["kld"]
    assert 0 < by["difference_at_least"] < better
    assert damaged["kld_of"]["tokens_scored"] < full[DAMAGED]["kld_of"]["tokens_scored"] / 2
    low, high = damaged["kld_of"]["interval"]
    assert low < full[DAMAGED]["kld"] < high
    assert {"kld", "ppl", "same_top_pct"} <= set(damaged["cut_short"])
    report = qpipe("report", "latest", "--format", "md", cwd=stopping).stdout
    (line,) = [line for line in report.splitlines() if line.startswith(f"| {DAMAGED} ")]
    assert f"| ≈ {damaged['kld']:.4f} ± " in line or f"| ≈ {damaged['kld']:.3g} ± " in line
    assert f"- ≈ {DAMAGED}, kld: stopped after " in report
    assert f"as dominated by {by['name']}, which is no larger" in report
    # A second time nothing is measured; and a level that is asked for alone is the plain one.
    again = json.loads(qpipe(*ASKED, *LEVELS, STOP, cwd=stopping).stdout)
    assert {node["status"] for node in again["nodes"]} == {"cached"}
    alone = ("quantize.type=Q4_K_M", "quantize.token_embedding_type=null")
    nodes = json.loads(qpipe(*ASKED, *alone, STOP, cwd=plain).stdout)["nodes"]
    assert {node["status"] for node in nodes} == {"cached"}


@pytest.mark.slow
def test_a_level_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    """Q4_1 with a wish that nothing hears cannot be made; larger levels go on without it."""
    rule = "quantize.tensor_types={no_such_tensor:Q8_0},null"
    words = ("quantize.type=Q4_0,Q8_0", rule, STOP, "--keep-going")
    answer = qpipe(*ASKED, *words, cwd=tmp_path)
    assert answer.code != 0
    nodes = {node["name"]: node["status"] for node in json.loads(answer.stdout)["nodes"]}
    failed = [name for name, status in nodes.items() if status == "failed"]
    assert len(failed) == 2
    assert all(name.startswith("quantize") for name in failed)
    measured = {name: status for name, status in nodes.items() if name.startswith("kld[")}
    assert sorted(measured.values()) == ["ran", "ran", "skipped", "skipped"]


def _kept(cwd: Path) -> list[Path]:
    return [path for path in files_below(cwd, "group-*.npz") if path.stat().st_size]


@pytest.mark.slow
@pytest.mark.xdist_group("dominated")
def test_a_killed_sweep_goes_on_and_ends_as_it_would_have(stopping: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "qpipe", *ASKED, *LEVELS, STOP],
        cwd=broken,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 100
        # The first frontier is there: a level is being measured that has a rival.
        while not (files_below(broken, "levels.json") and _kept(broken)):
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        kill_with_workers(process)
    ours = _rows(qpipe(*ASKED, *LEVELS, STOP, cwd=broken))
    theirs = _rows_in(stopping)
    assert ours[DAMAGED]["dominated_by"]
    for name, row in ours.items():
        assert _files(row) == _files(theirs[name]), name
