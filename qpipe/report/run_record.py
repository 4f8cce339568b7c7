"""The record of a run: its summary, run.json, and its events, one JSON document a line."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qpipe.core.events import Event, NodeProgress
from qpipe.core.graph import Plan
from qpipe.core.runner import Outcome, RunResult
from qpipe.results.comparison import Comparison
from qpipe.results.record import rows


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
        "rows": rows(comparison),
        "schema": comparison.schema,
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


# Seconds between two notes of one node's progress.
_PROGRESS_EVERY = 5.0


class Recorder:
    """A listener that appends every event to a file; of progress, a line now and then."""

    def __init__(self, path: Path) -> None:
        """Open the file, and create its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # Line by line, so that the file can be followed while the run goes on.
        self._file = path.open("a", buffering=1, encoding="utf-8")
        # `qpipe status` tells by it that the run goes on. Some file systems have no locks.
        with contextlib.suppress(OSError):
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._last: dict[str, float] = {}
        self._problem: OSError | None = None

    def __call__(self, event: Event) -> None:
        """Append one event."""
        if isinstance(event, NodeProgress):
            if event.at - self._last.get(event.node, 0.0) < _PROGRESS_EVERY:
                return
            self._last[event.node] = event.at
        if self._problem is None:
            try:
                self._file.write(json.dumps(event.record(), allow_nan=False) + "\n")
            except OSError as error:
                # A full disk must not end a run for its log; `close` says what is missing.
                self._problem = error

    def close(self) -> str | None:
        """Close the file; return in words why events are missing from it, if any are."""
        try:
            self._file.close()
        except OSError as error:
            self._problem = self._problem or error
        if self._problem is None:
            return None
        return f"{self._file.name} is incomplete: {self._problem}"
