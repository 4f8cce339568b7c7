"""Tab completion: Hydra's, and before it the verb and the recipe.

`eval "$(qpipe -sc install=bash)"` installs it. The shell then calls `qpipe -sc query=SHELL`, with
the line so far in COMP_LINE.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

_RECIPE_VERBS = ("run", "plan", "graph", "explain", "lock")
_WITH_VALUE = ("--store", "--runs", "--cfg", "--package", "--format")


def arguments_for(words: Sequence[str], verbs: Iterable[str]) -> list[str]:
    """The arguments of the command that lets Hydra answer; empty if there is nothing (more) to say.

    Verbs and recipes are completed here, on stdout.
    """
    if not any(word.startswith("query=") for word in words):
        return ["run", "-sc", *words]
    verb, recipe = _typed(os.environ.get("COMP_LINE", ""))
    if verb is None:
        print(" ".join(verbs))
    elif verb in _RECIPE_VERBS and recipe is None:
        from qpipe.recipe.request import recipe_names

        print(" ".join(recipe_names()))
    elif verb in _RECIPE_VERBS and recipe is not None:
        return [verb, recipe, "-sc", *words]
    return []


def _typed(line: str) -> tuple[str | None, str | None]:
    """Verb and recipe as far as they are complete; the word that is being typed is not."""
    verb, *after = [*line.split(" ")[1:-1], None] if line.count(" ") else [None]
    positional = [
        word
        for before, word in zip([verb, *after], after, strict=False)
        if word and not word.startswith("-") and before not in _WITH_VALUE
    ]
    return verb, positional[0] if positional else None
