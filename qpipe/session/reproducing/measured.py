"""The jobs behind published values, run as one graph or planned: what each came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qpipe.core.events import Emit
from qpipe.core.graph import Graph, Plan, PlannedJob
from qpipe.core.outcome import Outcome, RunResult
from qpipe.errors import QpipeError
from qpipe.recipe import lock_file
from qpipe.session.context import Context
from qpipe.session.reproducing.jobs import TablePlan
from qpipe.session.reproducing.table_job import TableJob
from qpipe.session.run import Batch, FinishedRun, execute

if TYPE_CHECKING:
    from qpipe.results.comparison import ModelRow


@dataclass(frozen=True)
class JobEnd:
    """The end of a job: the row of its model (None: not made), and the error that kept it from
    being made or measured, with what it happened to in words."""

    row: ModelRow | None = None
    error: QpipeError | None = None
    where: str = ""

    @property
    def why(self) -> str:
        """Why something is missing; empty if nothing went wrong."""
        if self.error is None:
            return ""
        return f"{self.where}: {self.error}" if self.where else str(self.error)


@dataclass(frozen=True)
class MeasuredJobs:
    """The ends of jobs, and of the run that had them (None where no job could be begun)."""

    ends: Mapping[TableJob, JobEnd]
    run: FinishedRun | None = None
    errors: Sequence[QpipeError] = field(default_factory=list)


def run(
    planned: TablePlan,
    context: Context,
    command: Sequence[str],
    *,
    listeners: Sequence[Emit],
) -> MeasuredJobs:
    """Run all jobs whose sources are there; what fails keeps no other from running."""
    ends = {job: JobEnd(error=error) for job, error in planned.errors.items()}
    errors: list[QpipeError] = [*dict.fromkeys(planned.errors.values())]
    if not planned.places:
        return MeasuredJobs(ends, None, errors)

    def feed(batch: Batch) -> None:
        batch(planned.draft, planned.partial.plan)

    finished = execute(
        context,
        listeners=listeners,
        feed=feed,
        told=_told(planned, context, command),
    )
    by_place = finished.plan.jobs
    for job, place in planned.places.items():
        ends[job] = _end(by_place[place], finished.plan.graph, finished.result)
    return MeasuredJobs(ends, finished, [*errors, *finished.errors])


def _told(planned: TablePlan, context: Context, command: Sequence[str]) -> dict[str, Any]:
    """Say what the run's record says was asked for."""
    locks = [lock_file.read(recipe) for recipe in dict.fromkeys(j.recipe for j in planned.places)]
    return {
        "command": [*command],
        "recipe": context.request.recipe,
        "overrides": [],
        "multirun": False,
        "lock": {label: commit for lock in locks for label, commit in lock.items()},
    }


def _end(job: PlannedJob, graph: Graph, result: RunResult) -> JobEnd:
    from qpipe.report import rows

    alone = _with_inputs(job, graph)
    plan = Plan(alone, [job])
    outcomes = {node: result.outcomes[node] for node in alone}
    error, where = _first_error(outcomes, graph, result)
    comparison = rows.comparison(plan, RunResult(outcomes))
    made = [row for row in comparison.rows if not row.reference] or [*comparison.rows]
    if len(made) != 1:
        words = f"its recipe makes {len(made)} models, and a row is about one"
        return JobEnd(error=QpipeError(words))
    row = made[0] if made[0].artifact is not None else None
    return JobEnd(row, error, where)


def _with_inputs(job: PlannedJob, graph: Graph) -> Graph:
    """The nodes of a job, and all that they are made from."""
    own = {*job.nodes.values()}
    for node in reversed([*graph.values()]):
        if node.id in own:
            own |= {*node.inputs.values()}
    return Graph(node for node in graph.values() if node.id in own)


def _first_error(
    outcomes: Mapping[str, Outcome], graph: Graph, result: RunResult
) -> tuple[QpipeError | None, str]:
    """The first error among nodes, and the name of the node that it happened to."""
    for outcome in outcomes.values():
        if outcome.error is not None:
            return outcome.error, outcome.node.name
    for outcome in outcomes.values():
        if outcome.artifact is None:
            return QpipeError(f"because of {outcome.blocked_by or 'what failed before'}"), ""
    return None, ""
