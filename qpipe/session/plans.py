"""From a request to plans: composed by Hydra or remembered, sources pinned, nothing run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe.core.graph import Graph, Plan, PlannedJob, merge
from qpipe.core.layout import StorePaths
from qpipe.errors import RecipeError, UnreachableError
from qpipe.recipe import draft_cache, lock_file
from qpipe.recipe.draft import InvalidJobDraft, RunDraft
from qpipe.recipe.planner import plan
from qpipe.session.context import Context
from qpipe.sources.hub_source import HubSource
from qpipe.sources.pinning import Pinner

if TYPE_CHECKING:
    from qpipe.recipe.request import InvalidJob, Job
    from qpipe.sources.remote import RemoteSource

# Seconds between two words on how far a file is that is fetched before anything runs.
_EVERY = 10.0

Objective = float | Sequence[float] | None
DraftHandler = Callable[[RunDraft], Sequence[Objective]]


def each_draft(context: Context, handle: DraftHandler, *, folder: Path | None = None) -> None:
    """Call ``handle`` with every batch of jobs that the request comes to: one for a single run or
    a plain sweep, several for a sweeper that looks at results.

    ``handle`` returns the objective of each job. A draft that was composed before from the
    same files and overrides is not composed again. ``folder`` takes what a sweeper plugin writes.
    Raises RecipeError for jobs that cannot be run, unless they may be left out.
    """
    request, plans = context.request, StorePaths(context.store).plans
    remembered = draft_cache.recall(plans, request, cwd=Path.cwd())
    if remembered is not None:
        _refuse_invalid(remembered, context)
        handle(remembered)
        return
    from qpipe.recipe import load

    def batch(jobs: Sequence[Job | InvalidJob]) -> Sequence[Objective]:
        from qpipe.recipe.draft_builder import draft

        drafted = draft(jobs)
        load.remember_batch(plans, request, jobs, drafted)
        _refuse_invalid(drafted, context)
        objectives = list(handle(drafted))
        for job in drafted["invalid"]:
            objectives.insert(job["index"], None)
        return objectives

    load.drive(request, batch, folder=folder)


def _refuse_invalid(draft: RunDraft, context: Context) -> None:
    """Raise RecipeError for jobs that cannot be run, unless they may be left out."""
    invalid = draft["invalid"]
    if invalid and not (context.keep_going or draft["skip_invalid"]):
        from qpipe.recipe.messages import invalid_jobs

        raise RecipeError(invalid_jobs(invalid, len(invalid) + len(draft["jobs"])))


def each_plan(
    context: Context,
    handle: Callable[[RunDraft, Plan], Sequence[Objective]],
    *,
    folder: Path | None = None,
    learn: bool = False,
) -> None:
    """Do as `each_draft`, with the sources pinned and the jobs merged into one graph.

    ``learn`` has files at addresses whose digests are not known fetched, and their digests locked.
    The notes of drafts are passed on, each once, where there is a plan to note something of.
    """
    told: set[str] = set()

    def planned(draft: RunDraft) -> Sequence[Objective]:
        merged = _plan(draft, context, learn=learn)
        for note in dict.fromkeys(draft["notes"]):
            if note not in told:
                context.notify(note)
        told.update(draft["notes"])
        return handle(draft, merged)

    each_draft(context, planned, folder=folder)


def pinner(context: Context) -> Pinner:
    """Return the `Pinner` of the sources of this request's recipe."""
    return pinner_of(context.request.recipe, context.store)


def pinner_of(recipe: str, store: Path, *, first: Sequence[Path] = ()) -> Pinner:
    """Return the `Pinner` of the sources of a recipe; relative paths are looked for in the folders
    ``first``, in the current one, and beside the recipe."""
    folders = (*first, Path.cwd(), lock_file.recipe_folder(recipe))
    own = tuple(dict.fromkeys(folders))
    return replace(unlocked_pinner(store), folders=own, commits=lock_file.read(recipe))


def unlocked_pinner(store: Path) -> Pinner:
    """Return the `Pinner` of sources that no recipe names, and so no lock file pins."""
    return Pinner(
        folders=(Path.cwd(),),
        hashes=StorePaths(store).hashes,
        commits={},
        resolve=_resolve,
        config=_config,
        files=_files,
    )


def _plan(draft: RunDraft, context: Context, *, learn: bool) -> Plan:
    started = time.monotonic()
    asking = replace(pinner(context), threads=draft["executor"]["cpus"])
    if learn:
        asking = replace(asking, learn=_learn(context))
    planned = plan(draft, asking, context.notify)
    if asking.learned:
        _lock(context, asking.learned)
    seconds = time.monotonic() - started
    if seconds > 2:
        context.notify(f"pinned the sources in {seconds:.1f} s (remembered from now on)")
    return planned


def _learn(context: Context) -> Callable[[RemoteSource], dict[str, str]]:
    """A function that fetches the files of an address, and says what that comes to."""

    def learn(source: RemoteSource) -> dict[str, str]:
        from qpipe.report import numbers
        from qpipe.sources import remote_store

        context.notify(f"{source.shown}: fetched for the SHA-256, which nothing gives yet")
        last = time.monotonic()

        def progress(done: int, total: int, unit: str) -> None:
            nonlocal last
            if time.monotonic() - last > _EVERY:
                last = time.monotonic()
                context.notify(f"{source.shown}: {numbers.size(done)} of {numbers.size(total)}")

        return remote_store.learned(source, StorePaths(context.store.absolute()), progress)

    return learn


def _lock(context: Context, learned: Mapping[str, str]) -> None:
    """Write digests of a first use into the lock file, and say what they are."""
    for label, digest in learned.items():
        context.notify(f"{label} = {digest}")
    try:
        path = lock_file.write(context.request.recipe, learned)
    except OSError as error:
        context.notify(
            f"the lock file cannot be written ({error.strerror}): give model.sha256 from now on"
        )
    else:
        context.notify(f"written to {path}: other bytes are refused from now on")


def _config(source: HubSource) -> Path | None:
    from qpipe.sources import hub

    try:
        return hub.look(source).config
    except UnreachableError:  # downloading it says why
        return None


def _files(source: HubSource) -> tuple[list[str], bool]:
    from qpipe.sources import hub

    return hub.file_names(source)


def _resolve(source: HubSource, last: str | None) -> str:
    from qpipe.sources.hub import resolve_commit

    return resolve_commit(source, last)


@dataclass(frozen=True)
class MergedPlan:
    """All jobs of a request: the drafts of its batches, and one graph for all of its ``jobs``."""

    drafts: Sequence[RunDraft]
    graph: Graph
    jobs: Sequence[PlannedJob] = ()

    @property
    def invalid(self) -> list[InvalidJobDraft]:
        """The jobs of all batches that are left out."""
        return [job for draft in self.drafts for job in draft["invalid"]]


def merged_plan(context: Context) -> MergedPlan:
    """Compose and plan a request without running any of it. Raises RecipeError, SourceError."""
    drafts: list[RunDraft] = []
    plans: list[Plan] = []

    def handle(draft: RunDraft, planned: Plan) -> Sequence[Objective]:
        drafts.append(draft)
        plans.append(planned)
        return [None for _ in planned.jobs]

    each_plan(context, handle)
    graph = plans[0].graph if len(plans) == 1 else merge(p.graph for p in plans)
    return MergedPlan(drafts, graph, [job for p in plans for job in p.jobs])


@dataclass(frozen=True)
class PinnedSources:
    """The commits and digests of a recipe's sources by label, and the lock file that keeps them
    (None if there are none)."""

    lock_file: Path | None
    commits: Mapping[str, str]


def pin_sources(context: Context) -> PinnedSources:
    """Resolve every hub revision anew, and the SHA-256 of every file at an address, whatever an
    older lock file says, and write the lock file.

    Raises RecipeError, and SourceError without a network.
    """
    asking = replace(pinner(context), commits={}, anew=True, learn=_learn(context))

    def handle(draft: RunDraft) -> Sequence[Objective]:
        plan(draft, asking)
        return [None for _ in draft["jobs"]]

    each_draft(context, handle)
    if not asking.notes:
        return PinnedSources(None, {})
    return PinnedSources(lock_file.write(context.request.recipe, asking.notes), asking.notes)
