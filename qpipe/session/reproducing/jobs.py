"""The jobs behind the values of tables: recipes composed once each, and one graph for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qpipe.core.graph import Graph, Plan
from qpipe.core.layout import StorePaths
from qpipe.errors import QpipeError, RecipeError, UnreachableError, UsageError
from qpipe.published.selection import TableValue
from qpipe.recipe import draft_cache
from qpipe.recipe.draft import JobDraft, RunDraft
from qpipe.recipe.overrides import varying
from qpipe.recipe.planner import PartialPlan, plan_each
from qpipe.recipe.request import InvalidJob
from qpipe.session.plans import pinner_of
from qpipe.session.reproducing.table_job import TableJob
from qpipe.sources.hub_source import HubSource
from qpipe.sources.pinning import Pinner

_MOST_ERRORS = 8
_MANY = 20  # jobs, whose composing takes seconds

Notify = Callable[[str], None]


def drafts(
    values: Iterable[tuple[TableValue, TableJob]], store: Path, notify: Notify
) -> dict[TableJob, RunDraft]:
    """Compose each distinct job once, or recall it.

    Raises RecipeError that names the row of each that is wrong.
    """
    first: dict[TableJob, TableValue] = {}
    for each, job in values:
        first.setdefault(job, each)
    plans, here, cwd = StorePaths(store).plans, draft_cache.here(), Path.cwd()
    drafted: dict[TableJob, RunDraft] = {}
    waiting: dict[str, list[TableJob]] = {}
    for job in first:
        known = draft_cache.recall(plans, job.request, cwd=cwd, circumstances=here)
        if known is None:
            waiting.setdefault(job.recipe, []).append(job)
        else:
            drafted[job] = known
    errors: dict[TableJob, UsageError] = {}
    if (count := sum(map(len, waiting.values()))) > _MANY:
        notify(f"composing {count} jobs of {len(waiting)} recipes (remembered from now on)")
    for recipe, jobs in waiting.items():
        _compose(recipe, jobs, plans, drafted, errors)
    if errors:
        raise RecipeError(_wrong([(first[job], error) for job, error in errors.items()]))
    for note in _notes(drafted):
        notify(note)
    return {job: drafted[job] for job in first}


def _notes(drafted: Mapping[TableJob, RunDraft]) -> list[str]:
    """The notes of all drafts, but for those on an override that has an effect in another job:
    a table shares its overrides among its rows."""
    of_note: dict[str, set[TableJob]] = {}
    for job, draft in drafted.items():
        for note in draft["notes"]:
            of_note.setdefault(note, set()).add(job)
    return [
        note
        for note, jobs in of_note.items()
        if all(
            job in jobs
            for override in {o for job in jobs for o in job.overrides if repr(o) in note}
            for job in drafted
            if override in job.overrides
        )
    ]


def _compose(
    recipe: str,
    jobs: Sequence[TableJob],
    plans: Path,
    drafted: dict[TableJob, RunDraft],
    errors: dict[TableJob, UsageError],
) -> None:
    """Compose the jobs of one recipe, which share what Hydra makes of it."""
    from qpipe.recipe import load
    from qpipe.recipe.draft_builder import draft

    try:
        composed = load.compose_each(recipe, [job.overrides for job in jobs])
    except RecipeError as error:
        errors |= dict.fromkeys(jobs, error)
        return
    for job, one in zip(jobs, composed, strict=True):
        if isinstance(one, InvalidJob):
            errors[job] = one.error
            continue
        try:
            drafted[job] = draft([one])
        except UsageError as error:
            errors[job] = error
        else:
            load.remember_batch(plans, job.request, [one], drafted[job])


def _wrong(errors: Sequence[tuple[TableValue, UsageError]]) -> str:
    """The rows whose recipe or overrides are wrong, each reason once."""
    rows: dict[str, list[TableValue]] = {}
    for each, error in errors:
        rows.setdefault(str(error), []).append(each)
    lines = [f"{_named(first, len(more))}: {why}" for why, (first, *more) in rows.items()]
    rest = [f"and {len(lines) - _MOST_ERRORS} more"] if len(lines) > _MOST_ERRORS else []
    return "\n".join(lines[:_MOST_ERRORS] + rest)


def _named(each: TableValue, others: int) -> str:
    row = f"{each.place}: row {each.value.number} ({each.value.row.format}), {each.value.name}"
    return f"{row} and {others} other{'s' * (others > 1)}" if others else row


@dataclass(frozen=True)
class TablePlan:
    """Jobs as one graph: ``draft`` for what they share, the plan, the place of each job in it, and
    the error of each that cannot be run."""

    draft: RunDraft
    partial: PartialPlan
    places: Mapping[TableJob, int]
    errors: Mapping[TableJob, QpipeError]
    locks: Mapping[str, Mapping[str, str]]
    """The commits that were looked up, by recipe and source."""

    def without(self, errors: Mapping[TableJob, QpipeError]) -> TablePlan:
        """The plan without jobs that have an error, and what only they need."""
        if not errors:
            return self
        whole = self.partial.plan
        kept = [job for job in self.places if job not in errors]
        jobs = [whole.jobs[self.places[job]] for job in kept]
        own = {node for job in jobs for node in job.nodes.values()}
        for node in reversed([*whole.graph.values()]):
            if node.id in own:
                own |= {*node.inputs.values()}
        graph = Graph(node for node in whole.graph.values() if node.id in own)
        return replace(
            self,
            partial=replace(self.partial, plan=Plan(graph, jobs)),
            places={job: place for place, job in enumerate(kept)},
            errors={**self.errors, **errors},
        )


def merged(
    drafted: Mapping[TableJob, RunDraft], store: Path, notify: Notify, *, ask: bool
) -> TablePlan:
    """Pin the sources of all jobs and merge them into one graph. Without ``ask`` the hub is asked
    for commits alone, and not about files."""
    jobs = [*drafted]
    pinners = _pinners(jobs, store, ask=ask)
    labelled = _labelled(jobs, [drafted[job]["jobs"][0] for job in jobs])
    with_pinners = [
        (one, pinners[job.recipe, job.folder]) for job, one in zip(jobs, labelled, strict=True)
    ]
    partial = plan_each(with_pinners, notify)
    return TablePlan(
        _joined([*drafted.values()]),
        partial,
        {jobs[place]: number for number, place in enumerate(partial.places)},
        {jobs[place]: error for place, error in partial.errors.items()},
        {recipe: pinner.notes for (recipe, _), pinner in pinners.items() if pinner.notes},
    )


def _labelled(jobs: Sequence[TableJob], drafted: Sequence[JobDraft]) -> list[JobDraft]:
    """The drafts with what sets each apart from the others, as if they were one sweep's."""
    names = varying([job.overrides for job in jobs], fixed=(), whole=True)
    return [JobDraft(**{**one, "varying": own}) for one, own in zip(drafted, names, strict=True)]


def _pinners(jobs: Iterable[TableJob], store: Path, *, ask: bool) -> dict[tuple[str, Path], Pinner]:
    """A pinner for each recipe and folder. Once nobody has answered, nobody is asked again."""
    silent: list[UnreachableError] = []
    pinners: dict[tuple[str, Path], Pinner] = {}
    for job in jobs:
        if (job.recipe, job.folder) not in pinners:
            pinner = pinner_of(job.recipe, store, first=(job.folder,))
            resolve = pinner.resolve

            def once(
                source: HubSource,
                last: str | None,
                resolve: Callable[[HubSource, str | None], str] = resolve,
            ) -> str:
                if silent:
                    raise UnreachableError(f"{source.label}: {_reason(silent[0])}")
                try:
                    return resolve(source, last)
                except UnreachableError as error:
                    silent.append(error)
                    raise

            config = pinner.config if ask else _cached_config
            pinners[job.recipe, job.folder] = replace(pinner, resolve=once, config=config)
    return pinners


def _reason(error: UnreachableError) -> str:
    """The words of an error without the source that it is about."""
    return str(error).partition(": ")[2]


def _cached_config(source: HubSource) -> Path | None:
    from qpipe.sources import hub

    return hub.cached_config(source)


def _joined(drafted: Sequence[RunDraft]) -> RunDraft:
    """Join what jobs of one run share. Raises RecipeError where they ask for two executors."""
    first = drafted[0]
    for one in drafted:
        if one["executor"] != first["executor"]:
            raise RecipeError(
                "executor: the recipes of the chosen rows ask for different executors; one run has "
                "one: choose fewer rows with --rows, or say the same in all overrides"
            )
    return RunDraft(
        jobs=[job for one in drafted for job in one["jobs"]],
        notes=[],
        invalid=[],
        skip_invalid=False,
        executor=first["executor"],
        keep_going=True,
        results_only=all(one["results_only"] for one in drafted),
        objective=[],
        guide=None,
    )
