from __future__ import annotations

import json
from pathlib import Path

import pytest

from qpipe.commands import runs_text
from qpipe.commands.status_text import lines
from qpipe.core.events import (
    Event,
    NodeFinished,
    NodeProgress,
    NodeStarted,
    RunFinished,
    RunStarted,
)
from qpipe.errors import UsageError
from qpipe.report.run_record import Recorder
from qpipe.session import run_states

NODES = {"a": "convert", "b": "perplexity[Q8_0]", "c": "perplexity[Q4_0]", "d": "perplexity[Q2_K]"}
BEGUN: list[Event] = [
    RunStarted(NODES, at=100.0),
    NodeFinished("a", "convert", "cached", at=101.0),
    NodeStarted("b", "perplexity[Q8_0]", "k", log="b.log", at=101.0),
    NodeFinished("b", "perplexity[Q8_0]", "ran", seconds=20.0, at=121.0),
    NodeStarted("c", "perplexity[Q4_0]", "l", log="c.log", at=121.0),
    NodeProgress("c", "perplexity[Q4_0]", 500, 1000, "tokens", at=131.0),
]


def write(runs: Path, name: str, events: list[Event]) -> Recorder:
    recorder = Recorder(runs / name / "events.jsonl")
    for event in events:
        recorder(event)
    return recorder


def test_a_run_that_goes_on(tmp_path: Path) -> None:
    recorder = write(tmp_path, "run", BEGUN)
    state = run_states.state("latest", str(tmp_path))
    assert state == run_states.state(str(tmp_path / "latest"), "elsewhere")
    assert state["status"] == "running"
    assert state["counts"] == {"cached": 1, "ran": 1}
    assert [node["status"] for node in state["nodes"]] == ["cached", "ran", "running", "waiting"]
    shown = "\n".join(lines(state, 131.0))
    assert "2 of 4 nodes" in shown
    assert "perplexity[Q4_0]  10.0 s so far  50% of 1,000 tokens  about 10.0 s to go" in shown
    assert "about 30.0 s to go" in shown, "half a node by its rate, and one by what such took"
    recorder.close()


def test_a_run_that_was_cut_off(tmp_path: Path) -> None:
    write(tmp_path, "run", BEGUN).close()
    log = tmp_path / "run" / "events.jsonl"
    log.write_bytes(log.read_bytes() + b'{"event": "NodeFin')
    state = run_states.state("run", str(tmp_path))
    assert state["status"] == "interrupted"
    assert [node["status"] for node in state["nodes"]][2] == "interrupted"
    assert "goes on from there" in "\n".join(lines(state, 500.0))


def test_runs_of_every_kind(tmp_path: Path) -> None:
    ended = RunFinished("failed", {"ran": 1, "failed": 1}, 30.0, at=230.0)
    write(tmp_path, "b failed", [RunStarted({"a": "x"}, ["m", "n"], at=200.0), ended]).close()
    write(tmp_path, "a cut", BEGUN).close()
    (tmp_path / "c damaged").mkdir()
    (tmp_path / "c damaged" / "events.jsonl").write_text("[1]\n")
    (tmp_path / "no run").mkdir()
    records = run_states.states(str(tmp_path))
    assert [(record["name"], record["status"]) for record in records] == [
        ("b failed", "failed"),
        ("a cut", "interrupted"),
        ("c damaged", "damaged"),
    ]
    assert records[0]["counts"] == {"ran": 1, "failed": 1}
    assert [record["models"] for record in records] == [["m", "n"], [], []]
    assert "  models: m, n" in lines(run_states.state("b failed", str(tmp_path)), 300.0)
    assert records[0]["seconds"] == 30.0
    json.dumps(records)


def test_a_run_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run in"):
        run_states.state("latest", str(tmp_path))
    write(tmp_path, "demo", BEGUN).close()
    with pytest.raises(UsageError, match=r"there is no run 'dmo'.*did you mean 'demo'"):
        run_states.state("dmo", str(tmp_path))


def test_it_reads_what_older_versions_wrote(tmp_path: Path) -> None:
    """Logs are lines of JSON with an event's name and time; fields may be missing or strange."""
    folder = tmp_path / "old"
    folder.mkdir()
    written = [{"event": "RunStarted", "at": 1.0, "nodes": {"a": "x"}}, {"event": "Odd"}, 5]
    (folder / "events.jsonl").write_text("\n".join(map(json.dumps, written)))
    assert run_states.state("old", str(tmp_path))["nodes"] == [{"name": "x", "status": "waiting"}]


def test_a_table_of_runs_fits_the_terminal() -> None:
    record = {
        "name": "2026-11-28_06-23-44_local",
        "status": "failed",
        "seconds": 9.0,
        "models": ["tinystories-d256", "stories260K", "qwen2"],
        "started": 1.0,
        "counts": {"ran": 27, "failed": 2, "skipped": 2},
    }
    wide = runs_text.table([record], 10.0, None).splitlines()
    assert wide[0].split() == ["RUN", "MODELS", "STATUS", "NODES", "TOOK", "BEGAN"]
    assert "  tinystories-d256 +2  failed  27 ran, 2 failed, 2 skipped  9.00 s" in wide[1]
    narrow = runs_text.table([record], 10.0, 80)
    assert max(map(len, narrow.splitlines())) <= 80
    short = {**record, "models": ["a", "b"]}
    assert "  a, b  " in runs_text.table([short], 10.0, None)
