"""What the end of a run comes to: its exit code, and what a sweeper looks at."""

from __future__ import annotations

from collections.abc import Sequence

from qpipe.core.graph import PlannedJob
from qpipe.core.outcome import RunResult
from qpipe.errors import UsageError
from qpipe.session.plans import Objective


def exit_code(result: RunResult, *, started: bool) -> int:
    """The exit code that the failures have in common, else 1; 0 if there are none.

    A stage that finds its settings wrong while it works has failed: 2 is for what never ran.
    """
    errors = [o.error for o in result.outcomes.values() if o.error is not None]
    usage = 1 if started else UsageError.exit_code
    codes = {usage if isinstance(error, UsageError) else error.exit_code for error in errors}
    return codes.pop() if len(codes) == 1 else min(len(codes), 1)


def objective(job: PlannedJob, result: RunResult, names: Sequence[str]) -> Objective:
    """The objective of a job: the facts called ``names`` of what it made and measured; None if any
    is missing."""
    facts: dict[str, object] = {}
    outcomes = [result.outcomes[node] for node in job.nodes.values()]
    for outcome in outcomes:
        reference = job.reference in (outcome.node.id, outcome.node.inputs.get("model"))
        if outcome.artifact is not None:
            own = outcome.artifact.manifest.facts
            # What the reference says stands only where the job has nothing of its own.
            facts = {**own, **facts} if reference else {**facts, **own}
    values = [facts.get(name) for name in names]
    numbers = [float(value) for value in values if isinstance(value, (int, float))]
    if len(numbers) != len(names):
        return None
    return numbers[0] if len(numbers) == 1 else numbers
