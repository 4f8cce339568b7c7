"""From a request to plans: composed by Hydra, or remembered from the last time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe.core.layout import StorePaths
from qpipe.core.plan import Plan
from qpipe.errors import RecipeError
from qpipe.recipe import locking, plan_cache
from qpipe.recipe.draft import RunDraft
from qpipe.recipe.planning import plan
from qpipe.session.context import Context
from qpipe.sources.pinning import HubSource, Pinner

if TYPE_CHECKING:
    from qpipe.recipe.request import InvalidJob, Job

Objective = float | Sequence[float] | None
Handler = Callable[[RunDraft], Sequence[Objective]]


def each_draft(context: Context, handle: Handler, *, folder: Path | None = None) -> None:
    """Call ``handle`` with every batch of jobs that the request comes to: one for a single run or
    a plain sweep, several for a sweeper that looks at results.

    ``handle`` returns the objective of each job. A plan that was composed before from the same
    files and overrides is not composed again. ``folder`` takes what a sweeper plugin writes.
    Raises RecipeError for jobs that cannot be run, unless they may be left out.
    """
    request, plans = context.request, StorePaths(context.store).plans
    remembered = plan_cache.recall(plans, request, cwd=Path.cwd())
    if remembered is not None:
        _announce(remembered, context)
        handle(remembered)
        return
    from qpipe.recipe import load

    def batch(jobs: Sequence[Job | InvalidJob]) -> Sequence[Objective]:
        from qpipe.recipe.drafting import draft

        drafted = draft(request.recipe, jobs)
        load.remember_batch(plans, request, jobs, drafted)
        _announce(drafted, context)
        objectives = list(handle(drafted))
        for job in drafted["invalid"]:
            objectives.insert(job["index"], None)
        return objectives

    load.drive(request, batch, folder=folder)


def _announce(draft: RunDraft, context: Context) -> None:
    """Pass on a draft's notes; raise RecipeError for jobs that cannot be run, unless they may be
    left out."""
    for note in draft["notes"]:
        context.notify(note)
    invalid = draft["invalid"]
    if invalid and not (context.keep_going or draft["skip_invalid"]):
        from qpipe.recipe.messages import invalid_jobs

        raise RecipeError(invalid_jobs(invalid, len(invalid) + len(draft["jobs"])))


def each_plan(
    context: Context,
    handle: Callable[[RunDraft, Plan], Sequence[Objective]],
    *,
    folder: Path | None = None,
) -> None:
    """Do as `each_draft`, with the sources pinned and the jobs merged into one graph."""

    def planned(draft: RunDraft) -> Sequence[Objective]:
        return handle(draft, _plan(draft, context))

    each_draft(context, planned, folder=folder)


def pinner(context: Context) -> Pinner:
    """Return the `Pinner` of the sources of this request's recipe."""
    recipe = context.request.recipe
    return Pinner(
        folders=tuple(dict.fromkeys((Path.cwd(), locking.recipe_folder(recipe)))),
        hashes=StorePaths(context.store).hashes,
        locked=locking.read(recipe),
        resolve=_resolve,
    )


def _plan(draft: RunDraft, context: Context) -> Plan:
    started = time.monotonic()
    planned = plan(draft, pinner(context))
    seconds = time.monotonic() - started
    if seconds > 2:
        context.notify(f"pinned the sources in {seconds:.1f} s (remembered from now on)")
    return planned


def _resolve(source: HubSource, last: str | None) -> str:
    from qpipe.sources.hub import resolve_commit

    return resolve_commit(source, last)
