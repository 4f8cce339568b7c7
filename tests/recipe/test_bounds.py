"""Recipes that would grow without end are refused before they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.errors import RecipeError
from tests.recipe.composing import single, write

GOOD = "defaults: [config, _self_]\nmodel: {source: x}\n"


def refused(folder: Path, text: str) -> str:
    recipe = write(folder / "r.yaml", GOOD + text)
    with pytest.raises(RecipeError) as caught:
        single(recipe)
    return str(caught.value)


def lines(first: str, later: str, count: int = 40) -> str:
    """A block ``vars`` of which each field names the one before."""
    body = [f"  v0: {first}", *(f"  v{n}: {later.format(n - 1)}" for n in range(1, count))]
    return "\n".join(["vars:", *body])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "vars:\n  v0: &v0 [x, y]\n"
            + "".join(f"  v{n}: &v{n} [*v{n - 1}, *v{n - 1}]\n" for n in range(1, 40)),
            "line 19: more than 200,000 values once its anchors are expanded",
        ),
        (lines("word", '"${{vars.v{0}}}${{vars.v{0}}}"'), "more than 10,000,000 characters"),
        (lines("[w, w]", '["${{vars.v{0}}}", "${{vars.v{0}}}"]'), "more than 10,000,000"),
        (lines("v", '"${{vars.${{vars.v{0}}}}}${{vars.${{vars.v{0}}}}}"'), "more than 10,000,000"),
        (lines("word", '"a ${{vars.v{0}}}"', 200), "more than 100 references"),
        (
            "vars:\n" + "".join(f"  v{n}: a ${{vars.v{n + 1}}}\n" for n in range(3000)),
            "references one behind another",
        ),
        ("vars: {a: " + "[" * 150 + "]" * 150 + "}", "line 3: more than 100 levels deep"),
        ("vars: {a: " + "[" * 200_000 + "]" * 200_000 + "}", "more than 100 levels deep"),
        ("vars: {a: &a [*a]}", "leads back to itself"),
        ("vars: {a: '" + "x" * 4_100_000 + "'}", "and a recipe has 4,000,000 at most"),
    ],
    ids=[
        "anchors",
        "texts",
        "lists",
        "computed",
        "chain",
        "long chain",
        "deep",
        "very deep",
        "circle",
        "long",
    ],
)
def test_what_would_grow_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused(tmp_path, text)
    assert words in message
    assert "r.yaml" in message


def test_what_people_write_is_small_enough(tmp_path: Path) -> None:
    text = lines("word", '"${{vars.v{0}}}${{vars.v{0}}}"', 12)
    job = single(write(tmp_path / "r.yaml", GOOD + text))
    assert job.config["vars"]["v11"] == "word" * 2**11
