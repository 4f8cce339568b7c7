"""The document that `qpipe run --json` prints and run.json keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qpipe.core.plan import Plan
from qpipe.core.runner import Outcome, RunResult
from qpipe.results import record
from qpipe.results.comparison import Comparison


def document(
    run: str,
    plan: Plan,
    result: RunResult,
    comparison: Comparison,
    *,
    invalid: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The summary of a run: ``{"run", "status", "nodes", "rows", "schema"}``, nodes in graph order.

    qpipe/results/run.schema.json describes it. ``invalid``, of jobs of a sweep that were left out,
    is there if there are any.
    """
    document: dict[str, Any] = {
        "run": run,
        "status": result.status,
        "nodes": [_node(result.outcomes[node]) for node in plan.graph],
        "rows": record.rows(comparison),
        "schema": comparison.schema,
    }
    if invalid:
        document["invalid"] = [{"name": job["name"], "error": job["error"]} for job in invalid]
    return document


def _node(outcome: Outcome) -> dict[str, Any]:
    artifact = outcome.artifact
    made: dict[str, Any] = {
        "name": outcome.node.name,
        "stage": outcome.node.stage,
        "key": artifact.key if artifact else None,
        "status": outcome.status,
        "seconds": outcome.seconds,
        "artifact": str(artifact.path) if artifact else None,
    }
    if outcome.error is not None:
        made["error"] = {"type": type(outcome.error).__name__, "message": str(outcome.error)}
    elif outcome.blocked_by is not None:
        made["blocked_by"] = outcome.blocked_by
    return made
