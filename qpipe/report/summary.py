"""The document that `qpipe run --json` prints and run.json keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qpipe.core.plan import Plan
from qpipe.core.runner import Outcome, RunResult


def document(
    run: str,
    plan: Plan,
    result: RunResult,
    rows: Sequence[Mapping[str, Any]],
    *,
    invalid: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """``{"run", "status", "nodes", "rows"}``, nodes in graph order.

    ``invalid``, of jobs of a sweep that were left out, is there if there are any.
    """
    document: dict[str, Any] = {
        "run": run,
        "status": result.status,
        "nodes": [_node(result.outcomes[node]) for node in plan.graph],
        "rows": [dict(row) for row in rows],
    }
    if invalid:
        document["invalid"] = [{"name": job["name"], "error": job["error"]} for job in invalid]
    return document


def _node(outcome: Outcome) -> dict[str, Any]:
    artifact = outcome.artifact
    record: dict[str, Any] = {
        "name": outcome.node.name,
        "stage": outcome.node.stage,
        "key": artifact.key if artifact else None,
        "status": outcome.status,
        "seconds": outcome.seconds,
        "artifact": str(artifact.path) if artifact else None,
    }
    if outcome.error is not None:
        record["error"] = {"type": type(outcome.error).__name__, "message": str(outcome.error)}
    elif outcome.blocked_by is not None:
        record["blocked_by"] = outcome.blocked_by
    return record
