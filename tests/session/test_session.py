"""A recipe from Python, by the real stages in real workers."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import qpipe
from qpipe.core.events import Event, MadeAgain, NodeFinished, RunFinished, RunStarted
from qpipe.core.manifest import Manifest
from qpipe.errors import EngineMissingError, RecipeError, UsageError
from qpipe.session.again import changed_figures
from tests.session.conftest import Swept

MODEL = "tinystories-d256"
SMALL = Path(__file__).parents[1] / "data" / "models" / "stories260K"


def test_a_plan_says_what_would_be_made(swept: Swept) -> None:
    nodes = {node.name: node for node in swept.before.nodes}
    assert swept.before.counts == {"cached": 0, "run": 2, "unknown": 7}
    assert nodes[f"download[{MODEL}]"].state == "run"
    planned = nodes[f"quantize[{MODEL} Q4_0]"].preview
    row = next(row for row in swept.comparison.rows if row.name == "Q4_0")
    assert planned is not None
    assert planned.facts["size_bytes"] == row.size_bytes
    assert not swept.before.errors and not swept.before.left_out


def test_a_run_is_a_comparison(swept: Swept) -> None:
    reference, *levels = swept.comparison.rows
    assert reference.reference and [row.name for row in levels] == ["Q8_0", "Q4_0"]
    for row in swept.comparison.rows:
        assert row.path is not None
        assert Path(row.path).stat().st_size == row.size_bytes
        assert row.scores["ppl"].better == "lower"
        assert (row.scores["ppl"].stderr or 0) > 0
    assert reference.scores["ppl"].value < levels[1].scores["ppl"].value


def test_events_come_in_the_order_of_things(swept: Swept) -> None:
    assert isinstance(swept.events[0], RunStarted)
    assert isinstance(swept.events[-1], RunFinished)
    ended = [event for event in swept.events if isinstance(event, NodeFinished)]
    assert {event.name for event in ended} == {node.name for node in swept.before.nodes}


def test_again_all_is_cached_and_equal(swept: Swept, capsys: pytest.CaptureFixture[str]) -> None:
    assert swept.session.plan().counts == {"cached": 9, "run": 0, "unknown": 0}
    again = swept.session.run()
    assert [row.scores for row in again.rows] == [row.scores for row in swept.comparison.rows]
    assert {row.status for row in again.rows} == {"cached"}
    newest = max(swept.session.runs.iterdir())
    for opened in (qpipe.open_run(runs=swept.session.runs), qpipe.open_run(newest)):
        told = [(row.name, row.path, row.figures, row.scores, row.status) for row in opened.rows]
        assert told == [(r.name, r.path, r.figures, r.scores, r.status) for r in again.rows]
    assert len(json.loads((newest / "run.json").read_text())["rows"]) == 3
    said = capsys.readouterr()
    assert said.out == said.err == ""


def test_a_stage_is_measured_again(swept: Swept) -> None:
    plan = swept.session.plan(again=["perplexity"])
    assert plan.counts == {"cached": 7, "run": 2, "unknown": 0}
    events: list[Event] = []
    again = swept.session.run(events.append, again=["perplexity"])
    compared = {e.name: e.message for e in events if isinstance(e, MadeAgain)}
    assert set(compared) == {f"perplexity[{MODEL} Q8_0]", f"perplexity[{MODEL} Q4_0]"}
    assert set(compared.values()) == {"as before, byte for byte"}
    assert [row.figures for row in again.rows] == [r.figures for r in swept.comparison.rows]
    newest = max(swept.session.runs.iterdir())
    command = json.loads((newest / "run.json").read_text())["command"]
    assert command[-2:] == ["--again", "perplexity"]
    runs = len(list(swept.session.runs.iterdir()))
    with pytest.raises(UsageError, match=r"--again perplexty: no stage .* 'perplexity'"):
        swept.session.run(again=["perplexty"])
    with pytest.raises(UsageError, match="a list of stages"):
        swept.session.plan(again="perplexity")
    assert len(list(swept.session.runs.iterdir())) == runs


def test_figures_that_came_out_otherwise() -> None:
    figures = {"ppl": 9.14478, "seconds": 1.0}
    before = Manifest("k", "i", "n", "evaluate", 1, {}, {}, {}, [], figures)
    after = replace(before, facts={"ppl": 9.1447801, "seconds": 2.0})
    assert changed_figures(before, after) == "ppl 9.14478 → 9.1447801"
    assert changed_figures(before, replace(before, facts={**figures, "seconds": 3.0})) == ""


def test_a_data_frame(swept: Swept, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    frame = swept.comparison.to_pandas()
    assert list(frame["name"]) == ["F16", "Q8_0", "Q4_0"]
    assert list(frame["ppl"]) == [row.scores["ppl"].value for row in swept.comparison.rows]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(EngineMissingError, match="pip install pandas"):
        swept.comparison.to_pandas()


def test_a_failure_is_raised_after_all_was_written(tmp_path: Path) -> None:
    overrides = (f"model.source={SMALL}", "evaluate=none", "quantize=rtn")
    session = qpipe.load(
        "local",
        *overrides,
        "quantize.group_size=128",
        store=tmp_path / "store",
        runs=tmp_path / "runs",
    )
    assert "have 172 weights" in str(session.plan().errors[0])
    with pytest.raises(RecipeError, match="have 172 weights"):
        session.run()
    (row,) = session.run(keep_going=True).rows
    assert row.status == "failed" and "have 172 weights" in (row.error or "")
    assert qpipe.open_run(runs=session.runs).rows == (row,)


def test_a_sweep_whose_settings_do_not_go_together(tmp_path: Path) -> None:
    session = qpipe.load(
        "local",
        f"model.source={SMALL}",
        "evaluate=none",
        "quantize.type=Q8_0,Q99",
        sweep=True,
        store=tmp_path / "store",
        runs=tmp_path / "runs",
    )
    with pytest.raises(RecipeError, match="Q99"):
        session.plan()
    plan = session.plan(keep_going=True)
    assert [job.name for job in plan.left_out] == ["quantize.type=Q99"]


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'demo'"):
        qpipe.load("demmo")
    with pytest.raises(UsageError, match="no finished run"):
        qpipe.open_run(runs=tmp_path)
    with pytest.raises(UsageError, match=r"there is no run 'first' in .*no finished run"):
        qpipe.open_run("first", runs=tmp_path)
    with pytest.raises(UsageError, match="'' names no run: give a name below"):
        qpipe.open_run("", runs=tmp_path)


@pytest.mark.parametrize("override", [5, None, ["quantize.type=Q4_0"], b"quantize.type=Q4_0"])
def test_an_override_is_a_string(override: Any) -> None:
    with pytest.raises(RecipeError, match="an override is a string 'KEY=VALUE'") as error:
        qpipe.load("demo", "quantize.via=f16", override)
    assert repr(override) in str(error.value)
