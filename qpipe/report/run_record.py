"""The record of a run: its summary, run.json, and its events, one JSON document a line."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qpipe.core.events import Event, NodeProgress
from qpipe.core.graph import Graph, Plan
from qpipe.core.manifest import Manifest
from qpipe.core.outcome import Outcome
from qpipe.results.comparison import Comparison
from qpipe.results.figures import NodeFigures
from qpipe.results.record import rows


def document(
    run: str,
    status: str,
    plan: Plan,
    outcomes: Mapping[str, Outcome],
    comparison: Comparison,
    *,
    about: Mapping[str, Any] | None = None,
    invalid: Sequence[Mapping[str, Any]] = (),
    sweep: Mapping[str, Any] | None = None,
    expected: Mapping[str, NodeFigures] | None = None,
) -> dict[str, Any]:
    """The record of a run: its name, its ``status`` (running, done, failed or interrupted), what is
    known ``about`` it, ``tools``, ``nodes`` in graph order, ``rows`` and ``schema``.

    qpipe/results/run.schema.json describes it. ``invalid``, of jobs of a sweep that were left out,
    is there if there are any, ``sweep``, what was found, of a guided one. ``expected`` is what was
    foreseen of nodes, by id: of those that ran it stands beside what they came to.
    """
    document: dict[str, Any] = {
        "run": run,
        "status": status,
        **(about or {}),
        "tools": _tools(outcomes.values()),
        "nodes": [_node(outcomes[n], plan.graph, (expected or {}).get(n)) for n in plan.graph],
        "rows": rows(comparison),
        "schema": comparison.schema,
    }
    if invalid:
        document["invalid"] = [{"name": job["name"], "error": job["error"]} for job in invalid]
    if sweep is not None:
        document["sweep"] = sweep
    return document


def _tools(outcomes: Iterable[Outcome]) -> dict[str, list[str]]:
    """The versions of each tool that shaped a byte of what was made, or will."""
    versions: dict[str, set[str]] = {}
    for outcome in outcomes:
        tools = {n: v for n, v in outcome.node.engine.items() if n not in ("name", "version")}
        tools |= outcome.artifact.manifest.tools if outcome.artifact else {}
        for name, version in tools.items():
            if isinstance(version, str):
                versions.setdefault(name, set()).add(version)
    return {name: sorted(versions[name]) for name in sorted(versions)}


def _node(outcome: Outcome, graph: Graph, expected: NodeFigures | None) -> dict[str, Any]:
    """The record of a node, with its settings and the names of its inputs: what a recipe comes
    to."""
    artifact, node = outcome.artifact, outcome.node
    record: dict[str, Any] = {
        "name": outcome.node.name,
        "stage": outcome.node.stage,
        "key": artifact.key if artifact else None,
        "status": outcome.status,
        "seconds": outcome.seconds,
        "artifact": str(artifact.path) if artifact and artifact.path.is_dir() else None,
        "params": node.params,
        "engine": node.engine,
        "inputs": {role: graph[source].name for role, source in node.inputs.items()},
    }
    if outcome.status == "ran" and artifact is not None:
        record["forecast"] = (expected or NodeFigures()).record()
        record["actual"] = _took(artifact.manifest).record()
    if outcome.error is not None:
        record["error"] = {"type": type(outcome.error).__name__, "message": str(outcome.error)}
    elif outcome.blocked_by is not None:
        record["blocked_by"] = outcome.blocked_by
    return record


def _took(manifest: Manifest) -> NodeFigures:
    """The figures of a node that ran: of a model the bytes of its weights' files."""
    size = manifest.facts.get("size_bytes")
    return NodeFigures(
        size if isinstance(size, int) else manifest.size,
        manifest.usage.seconds,
        manifest.usage.peak_rss or None,
    )


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
