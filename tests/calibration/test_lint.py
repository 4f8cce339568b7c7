"""Copies in a calibration text, and what it shares with the evaluation text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpipe.calibration import lint
from qpipe.calibration.text.overlap import RUN, Overlap, overlap
from qpipe.stages.base import Work
from tests.cli import called

TEXTS = Path(__file__).parents[2] / "qpipe/data/texts"
HELDOUT = (TEXTS / "tinystories_lower_heldout.txt").read_text()
WORDS = [f"w{number}" for number in range(100)]


def text(first: int, last: int) -> str:
    return " ".join(WORDS[first:last])


def test_a_text_without_faults() -> None:
    assert overlap([text(0, 100)], "something else entirely") == Overlap(100, 0, 0)
    assert overlap([text(0, 100)]) == Overlap(100, 0, None)


def test_copies_within_and_between_documents() -> None:
    assert overlap([f"{text(0, 20)} and {text(0, 20)}"]).repeated == 20
    assert overlap([text(0, 20), text(0, 20), text(30, 50)]) == Overlap(60, 20, None)
    # Twelve words in common are no run; thirteen are, and all of them count.
    assert overlap([text(0, 40), text(28, 60)]).repeated == 0
    assert overlap([text(0, 41), text(28, 60)]).repeated == RUN == 13


def test_no_run_reaches_over_the_end_of_a_document() -> None:
    assert overlap([text(0, 10), text(10, 20)], text(0, 20)) == Overlap(20, 0, 0)


def test_what_is_shared_with_the_evaluation_text() -> None:
    assert overlap([text(0, 50)], f"before {text(20, 40)} after").shared == 20
    spelled = text(0, 20).upper().replace(" ", ", ")
    assert overlap([spelled], text(0, 20)) == Overlap(20, 0, 20)


def test_short_and_empty_texts() -> None:
    assert overlap([]) == overlap(["", "..."]) == Overlap(0, 0, None)
    assert overlap(["one two"], "one two") == Overlap(2, 0, 0)
    assert overlap([], "words").shared_share == 0


@given(st.lists(st.text("abc ", max_size=80), max_size=4), st.text("abc ", max_size=80))
def test_as_counted_word_by_word(documents: list[str], evaluation: str) -> None:
    runs_there = {tuple(evaluation.split()[i : i + RUN]) for i in range(80)}
    seen: set[tuple[str, ...]] = set()
    repeated = shared = 0
    for document in documents:
        words = document.split()
        again, common = set(), set()
        for start in range(len(words) - RUN + 1):
            run = tuple(words[start : start + RUN])
            again |= set(range(start, start + RUN)) if run in seen else set()
            common |= set(range(start, start + RUN)) if run in runs_there else set()
            seen.add(run)
        repeated += len(again)
        shared += len(common)
    found = overlap(documents, evaluation)
    assert (found.repeated, found.shared) == (repeated, shared)


def test_real_text() -> None:
    train = (TEXTS / "tinystories_lower_train.txt").read_text()
    found = overlap([train], HELDOUT)
    assert found.repeated_share < 0.01
    assert found.shared_share < 0.01
    assert overlap([HELDOUT], HELDOUT).shared_share == 1
    assert 0.45 < overlap([HELDOUT, HELDOUT]).repeated_share < 0.55


def test_of_a_data_set_the_beginning_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lint, "_MOST", 300)
    (tmp_path / "text").mkdir()
    records = [json.dumps({"text": text(0, 50)}) for _ in range(4)]
    (tmp_path / "text" / "c4.jsonl").write_text("\n".join([*records, "cut sho"]))
    (tmp_path / "out").mkdir()
    params = lint.LintParams(text="c4.jsonl")
    work = Work({"text": tmp_path / "text"}, tmp_path / "out", 1, lambda *done: None, {})
    facts = dict(lint.Lint().run(params, work))
    assert (facts["words"], facts["repeated"]) == (100, 50)
    notes: Any = facts["notes"]
    copies, beginning = sorted(notes)
    assert copies.startswith("50% of the calibration text c4.jsonl repeats")
    assert beginning.startswith("of the calibration text c4.jsonl the first 100 words were looked")
    assert lint.Lint.fingerprint(params) == {"beginning": 1}
    assert lint.Lint.fingerprint(lint.LintParams(text="c4.txt")) == {}


@pytest.mark.slow
def test_the_report_says_it(tmp_path: Path) -> None:
    """The very text that is evaluated on, as records, half of them twice."""
    stories = [story for story in HELDOUT.split("\n") if story.strip()][:60]
    given = tmp_path / "given.jsonl"
    given.write_text("".join(json.dumps({"story": s}) + "\n" for s in (*stories, *stories[:30])))
    answer = called(
        *("run", "local", "model.source=builtin:tinystories-d256", "imatrix=calibrated"),
        *(f"calibration.text={given}", "calibration.field=story", "calibration.length=64"),
        *("evaluate.n_ctx=64", "evaluate.chunks=2", "quantize.type=Q4_0", "calibration.samples=9"),
        cwd=tmp_path,
    )
    assert answer.code == 0, answer
    shared = r"note: (9\d|100)% of the calibration text given.jsonl stands in the evaluation text"
    assert re.search(shared, answer.stdout)
    assert "of the calibration text given.jsonl repeats what came before" in answer.stdout
