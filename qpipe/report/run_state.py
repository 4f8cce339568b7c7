"""What a listener remembers of a run, whatever it shows of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from qpipe.core.events import (
    Event,
    NodeFinished,
    NodeStarted,
    NodeWaiting,
    RunFinished,
    RunStarted,
)
from qpipe.report import numbers
from qpipe.report.alike import grouped, nodes
from qpipe.report.node_states import follow, run_seconds_left, seconds_left
from qpipe.report.skipped import by_cause, phrase, remedy

ELSEWHERE = "another process is making it"
"""What a node waits for, if nothing else is said."""


@dataclass(frozen=True)
class Active:
    """Nodes that a worker makes, one or several in one pass, or one that waits for another process
    (``waiting``: the note says why).

    ``since`` is in seconds since the epoch, ``left`` seconds to go, if that can be said.
    """

    name: str
    since: float
    waiting: bool = False
    done: int = 0
    total: int = 0
    unit: str = ""
    note: str = ""
    left: float | None = None


class FailedNode(NamedTuple):
    """A node that failed, with what message, and its log if it had started."""

    name: str
    error: str
    log: str | None


@dataclass
class Tally:
    """Counts of a run's nodes, and the nodes in progress.

    One tally takes all batches of a command.
    """

    nodes: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    """How far each node is, by id (qpipe/report/node_states.py)."""
    running: dict[str, None] = field(default_factory=dict)
    waiting: dict[str, tuple[float, str]] = field(default_factory=dict)
    """Nodes that wait for other processes, since when, and why."""
    failed: list[FailedNode] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    """Number of skipped nodes by cause."""
    since: float = 0.0
    status: str = ""

    def add(self, event: Event) -> None:
        """Take note of an event."""
        follow(self.states, event.record())
        if isinstance(event, RunStarted):
            self.nodes += len(event.nodes)
            self.since = self.since or event.at
        elif isinstance(event, NodeWaiting):
            since, _ = self.waiting.get(event.node, (event.at, ""))
            self.waiting[event.node] = since, event.why or ELSEWHERE
        elif isinstance(event, NodeStarted):
            self.running[event.node] = None
            self.waiting.pop(event.node, None)
        elif isinstance(event, NodeFinished):
            self._end(event)
        elif isinstance(event, RunFinished):
            self.running.clear()
            self.waiting.clear()
            # A later batch that went well does not undo a failure.
            self.status = self.status if self.status in ("failed", "interrupted") else event.status

    def _end(self, event: NodeFinished) -> None:
        self.running.pop(event.node, None)
        self.waiting.pop(event.node, None)
        self.counts[event.status] += 1
        if event.status == "failed":
            log = self.states.get(event.node, {}).get("log")
            self.failed.append(FailedNode(event.name, event.error or "", log))
        elif event.status == "skipped":
            self.skipped[event.error or ""] += 1

    @property
    def ended(self) -> int:
        """Nodes that have come to an end of any kind."""
        return self.counts.total()

    def active(self, now: float) -> list[Active]:
        """Return what goes on, one entry a pass."""
        passes: dict[str, list[dict[str, Any]]] = {}
        for node in self.running:
            state = self.states[node]
            passes.setdefault(state["first"], []).append(state)
        return [
            *(_pass(together, now) for together in passes.values()),
            *(
                Active(self.states[node]["name"], since, waiting=True, note=why)
                for node, (since, why) in self.waiting.items()
            ),
        ]

    def left(self, now: float) -> float | None:
        """About how many seconds the run has to go, if that can be said."""
        return run_seconds_left([*self.states.values()], now)


def _pass(together: Sequence[dict[str, Any]], now: float) -> Active:
    """Nodes that a worker makes in one pass, as one."""
    lefts = [left for state in together if (left := seconds_left(state, now)) is not None]
    return Active(
        name=nodes([state["name"] for state in together]),
        since=min(state["since"] for state in together),
        done=_sum(together, "done"),
        total=_sum(together, "total") if all(state.get("total") for state in together) else 0,
        unit=next((state["unit"] for state in together if state.get("unit")), ""),
        note=next((state["note"] for state in together if state.get("note")), ""),
        left=max(lefts, default=None),
    )


def _sum(states: Iterable[dict[str, Any]], name: str) -> int:
    return sum(state.get(name, 0) for state in states)


def amount(node: Active) -> str:
    """The progress of a node: ``12.0 MiB of 40.1 MiB``, ``512 of 30,720 tokens``; or nothing."""
    if not node.unit or not (node.done or node.total):
        return ""
    if node.unit == "bytes":
        done, total = numbers.size(node.done), numbers.size(node.total)
        return f"{done} of {total}" if node.total else done
    done, total = numbers.count(node.done), numbers.count(node.total)
    return f"{done} of {total} {node.unit}" if node.total else f"{done} {node.unit}"


def closing(tally: Tally, now: float) -> list[str]:
    """The last lines of a run: the counts, and after a failure what failed and how to go on."""
    order = ("ran", "cached", "failed", "skipped")
    counts = [f"{tally.counts[status]} {status}" for status in order if tally.counts[status]]
    words = {"done": "done", "failed": "failed", "interrupted": "interrupted"}
    took = numbers.duration(max(0.0, now - tally.since))
    lines = [
        f"{words[tally.status]}: {tally.nodes} nodes, {', '.join(counts) or 'none ended'}, {took}"
    ]
    groups = [names for names, _ in grouped((one.name, one.error) for one in tally.failed)]
    lines += [f"  failed: {nodes(names)}{_logs(tally, names)}" for names in groups]
    lines += [f"  skipped: {phrase(*skipped)}" for skipped in by_cause(tally.skipped, groups)]
    if tally.status == "failed":
        if tally.counts["ran"]:
            lines.append(
                "  Finished work is kept. Put it right, and the same command goes on from there."
            )
        else:
            lines.append(
                "  Nothing was made. Put right what failed and give the same command again."
            )
        if flag := remedy(tally.skipped):
            lines.append(f"  {flag}")
    return lines


def _logs(tally: Tally, names: Sequence[str]) -> str:
    """The log of the first of some nodes that failed alike, and how many others there are."""
    logs = [one.log for one in tally.failed if one.name in names and one.log]
    more = f", and {len(logs) - 1} more" if len(logs) > 1 else ""
    return f" (log: {logs[0]}{more})" if logs else ""
