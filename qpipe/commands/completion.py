"""Tab completion: Hydra's, and before it the verb and the recipe, or keys and runs.

`eval "$(qpipe -sc install=bash)"` installs it. The shell then calls `qpipe -sc query=SHELL`, with
the line so far in COMP_LINE.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

_RECIPE_VERBS = ("run", "plan", "graph", "explain", "lock")
_KEY_VERBS = ("rm", "show", "verify")
_RUN_VERBS = ("rm", "pin", "unpin", "status", "report")
_WITH_VALUE = ("--store", "--runs", "--cfg", "--package", "--format", "--again")


def arguments_for(words: Sequence[str], verbs: Iterable[str]) -> list[str]:
    """The arguments of the command that lets Hydra answer; empty if there is nothing (more) to say.

    Verbs, recipes, runs and keys are completed here, on stdout.
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
    elif verb in (*_KEY_VERBS, *_RUN_VERBS):
        print(" ".join(_things(verb)))
    return []


def _things(verb: str) -> Iterator[str]:
    """Keys, as `qpipe ls` shows them, and names of runs, where a verb takes such."""
    from qpipe.core.layout import DEFAULT_RUNS, DEFAULT_STORE
    from qpipe.session import listing, run_states

    if verb in _RUN_VERBS:
        runs = os.environ.get("QPIPE_RUNS") or DEFAULT_RUNS
        yield from (record["name"] for record in run_states.states(runs))
    if verb in _KEY_VERBS:
        store = os.environ.get("QPIPE_STORE") or DEFAULT_STORE
        yield from (entry["key"][:12] for entry in listing.entries(store))


def _typed(line: str) -> tuple[str | None, str | None]:
    """Verb and recipe as far as they are complete; the word that is being typed is not."""
    verb, *after = [*line.split(" ")[1:-1], None] if line.count(" ") else [None]
    positional = [
        word
        for before, word in zip([verb, *after], after, strict=False)
        if word and not word.startswith("-") and before not in _WITH_VALUE
    ]
    return verb, positional[0] if positional else None
