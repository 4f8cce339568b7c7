"""Pinning the sources of a recipe: which commit each hub revision stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qpipe.recipe import locking
from qpipe.recipe.draft import RunDraft
from qpipe.recipe.planning import plan
from qpipe.session.context import Context
from qpipe.session.plans import Objective, each_draft, pinner


@dataclass(frozen=True)
class PinnedSources:
    """The commits of a recipe's hub sources by label, and the lock file that keeps them (None if
    there are none)."""

    lock_file: Path | None
    commits: Mapping[str, str]


def pin_sources(context: Context) -> PinnedSources:
    """Resolve every hub revision anew, whatever an older lock file says, and write the lock file.

    Raises RecipeError, and SourceError without a network.
    """
    asking = replace(pinner(context), locked={})

    def handle(draft: RunDraft) -> Sequence[Objective]:
        plan(draft, asking)
        return [None for _ in draft["jobs"]]

    each_draft(context, handle)
    if not asking.notes:
        return PinnedSources(None, {})
    return PinnedSources(locking.write(context.request.recipe, asking.notes), asking.notes)
