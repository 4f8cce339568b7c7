"""Warnings of toy texts, and choices of a text that come to nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.recipe.draft_builder import draft
from tests.cli import called
from tests.recipe.composing import batches, write

TOY = "tinystories_lower_heldout.txt, children's stories that ship with qpipe for its own toy model"


def notes(recipe: str, *overrides: str, multirun: bool = False) -> list[str]:
    (jobs,) = batches(recipe, *overrides, multirun=multirun)
    return draft(jobs)["notes"]


def test_a_real_model_on_a_toy_text_is_told_once_a_field(tmp_path: Path) -> None:
    told = notes(
        "local", "model.source=./Mine-7B/", "quantize=gptq", "quantize.bits=4,8", multirun=True
    )
    assert [note.split(":")[0] for note in told] == ["calibration.text", "evaluate.text"]
    assert told[1] == (
        f"evaluate.text: Mine-7B is measured on {TOY}, and say little about another: give "
        "text=wikitext-2, or evaluate.text=FILE"
    )
    assert "Mine-7B is fitted to tinystories_lower_train.txt" in told[0]
    assert "give calibration=c4 (ultrachat for a chat model), or calibration.text=FILE" in told[0]


@pytest.mark.parametrize(
    "overrides",
    [
        ("model.source=builtin:tinystories-d256", "quantize=gptq"),
        ("model.source=o/m", "text=wikitext-2"),
        ("model.source=o/m", "evaluate.text=mine.txt"),
        ("model.source=o/m", "evaluate=none"),
        ("model.source=o/m", "text=wikitext-2", "calibration=c4", "quantize=awq", "evaluate=kld"),
        ("model.source=o/m", "text=wikitext-2", "calibration.text=mine.txt", "imatrix=calibrated"),
    ],
)
def test_what_is_meant_is_not(overrides: tuple[str, ...]) -> None:
    assert notes("local", *overrides) == []


def test_a_stage_of_its_own_is_named(tmp_path: Path) -> None:
    recipe = write(
        tmp_path / "r.yaml",
        """
        defaults: [config, override evaluate: none, _self_]
        model: {source: o/m}
        stages:
          short:
            uses: evaluate
            needs: {model: quantize}
            with: {metric: perplexity, text: "builtin:texts/tinystories_lower_heldout.txt"}
        """,
    )
    (note,) = notes(recipe)
    assert note.startswith("stages.short.with.text: m is measured on")


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (("text=wikitext-2", "evaluate.text=mine.txt"), "evaluate.text is set by the override"),
        (("text=wikitext-2", "evaluate=none"), "nothing here is measured on a text"),
        (("text=wikitext-2", "evaluate=speed"), "nothing here is measured on a text"),
        (
            ("quantize=gptq", "text=wikitext-2", "calibration=c4", "calibration.text=mine.txt"),
            "calibration.text is set by the override 'calibration.text=mine.txt'",
        ),
    ],
)
def test_a_choice_that_comes_to_nothing_is_told(overrides: tuple[str, ...], why: str) -> None:
    (note,) = notes("local", "model.source=o/m", *overrides)
    assert "has no effect: " in note
    assert why in note


def test_a_recipes_own_text_wins_and_says_so(tmp_path: Path) -> None:
    recipe = write(
        tmp_path / "r.yaml",
        """
        defaults: [config, _self_]
        model: {source: o/m}
        evaluate: {text: mine.txt}
        """,
    )
    assert notes(recipe) == []
    (note,) = notes(recipe, "text=wikitext-2")
    assert note.startswith("the override 'text=wikitext-2' has no effect: evaluate.text is set by ")
    assert note.endswith("r.yaml:3")


def test_a_plan_tells_it_each_time_and_a_wrong_source_alone(tmp_path: Path) -> None:
    stories = Path(__file__).parents[1] / "data" / "models" / "stories260K"
    for _ in range(2):  # the second time from what is remembered
        answer = called("plan", "local", f"model.source={stories}", cwd=tmp_path)
        assert answer.code == 0
        assert answer.stderr.count("stories260K is measured on") == 1
    answer = called("plan", "local", "model.source=nowhere", cwd=tmp_path)
    assert "measured on" not in answer.stderr
