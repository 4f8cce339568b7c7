"""run.keep=results: the figures of a sweep, without its models."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

import qpipe
from qpipe.core.events import Event, NodeStarted
from qpipe.core.store import ArtifactStore
from qpipe.report import render


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


def load(folder: Path, levels: str = "Q8_0,Q4_0", keep: str = "results") -> qpipe.Session:
    return qpipe.load(
        "local",
        "model.source=builtin:tinystories-d256",
        f"quantize.type={levels}",
        "evaluate.chunks=2",
        f"run.keep={keep}",
        sweep=True,
        store=folder / "store",
        runs=folder / "runs",
    )


def started(session: qpipe.Session) -> tuple[qpipe.Comparison, list[str]]:
    events: list[Event] = []
    comparison = session.run(events.append)
    return comparison, [event.name for event in events if isinstance(event, NodeStarted)]


def models(folder: Path) -> list[Path]:
    store = ArtifactStore(folder / "store")
    return [f for f in store.paths.artifacts.rglob("*.gguf") if f.stat().st_size > 1 << 20]


@pytest.mark.slow
def test_a_sweep_leaves_its_figures(folder: Path) -> None:
    comparison, made = started(load(folder))
    assert len(made) == 9
    assert models(folder) == []
    assert [row.name for row in comparison.rows] == ["F16", "Q8_0", "Q4_0"]
    for row in comparison.rows:
        assert row.scores["ppl"].value > 1
        assert row.size_bytes
        assert (row.path, row.link) == (None, None)
    table = io.StringIO()
    render.to_terminal(comparison, table)
    for text in (table.getvalue(), (max((folder / "runs").iterdir()) / "report.md").read_text()):
        assert all(level in text for level in ("F16", "Q8_0", "Q4_0")), text
    run = json.loads((max((folder / "runs").iterdir()) / "run.json").read_text())
    for node in run["nodes"]:
        assert node["artifact"] is None or Path(node["artifact"]).is_dir()

    plan = load(folder).plan()
    assert plan.counts == {"cached": 9, "run": 0, "unknown": 0}
    again, made = started(load(folder))
    assert made == []
    assert [row.figures for row in again.rows] == [row.figures for row in comparison.rows]

    more, made = started(load(folder, "Q8_0,Q4_0,Q6_K"))
    assert len(made) == 2, "the new level and its measurement: a level is made of the source"
    assert [row.name for row in more.rows] == ["F16", "Q8_0", "Q4_0", "Q6_K"]
    assert models(folder) == []

    everything, made = started(load(folder, keep="all"))
    assert len(made) == 3, "the models alone: they are measured"
    assert all(row.path and Path(row.path).is_file() for row in everything.rows)
    assert [row.figures for row in everything.rows] == [row.figures for row in comparison.rows]
