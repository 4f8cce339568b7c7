"""What a listener remembers of a run, whatever it shows of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from qpipe.core.events import (
    Event,
    NodeFinished,
    NodeProgress,
    NodeStarted,
    NodeWaiting,
    RunFinished,
    RunStarted,
)
from qpipe.report import numbers
from qpipe.report.alike import grouped, nodes
from qpipe.report.skipped import by_cause, phrase, remedy


@dataclass
class Active:
    """A node that a worker makes, or another process. Times in seconds since the epoch."""

    name: str
    since: float
    waiting: bool = False
    log: str | None = None
    done: int = 0
    total: int = 0
    unit: str = ""
    note: str = ""

    def eta(self, now: float) -> float | None:
        """Seconds to go at the mean speed so far, if that can be said."""
        if not 0 < self.done < self.total:
            return None
        return (now - self.since) / self.done * (self.total - self.done)


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
    active: dict[str, Active] = field(default_factory=dict)
    failed: list[FailedNode] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    """Number of skipped nodes by cause."""
    since: float = 0.0
    status: str = ""

    def add(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, RunStarted):
            self.nodes += len(event.nodes)
            self.since = self.since or event.at
        elif isinstance(event, NodeWaiting):
            self.active[event.node] = Active(event.name, event.at, waiting=True)
        elif isinstance(event, NodeStarted):
            self.active[event.node] = Active(event.name, event.at, log=event.log)
        elif isinstance(event, NodeProgress) and event.node in self.active:
            node = self.active[event.node]
            node.done, node.total, node.unit = event.done, event.total, event.unit
            node.note = event.note
        elif isinstance(event, NodeFinished):
            self._end(event)
        elif isinstance(event, RunFinished):
            self.active.clear()
            # A later batch that went well does not undo a failure.
            self.status = self.status if self.status in ("failed", "interrupted") else event.status

    def _end(self, event: NodeFinished) -> None:
        node = self.active.pop(event.node, None)
        self.counts[event.status] += 1
        if event.status == "failed":
            log = node.log if node else None
            self.failed.append(FailedNode(event.name, event.error or "", log))
        elif event.status == "skipped":
            self.skipped[event.error or ""] += 1

    @property
    def ended(self) -> int:
        """Nodes that have come to an end of any kind."""
        return self.counts.total()


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
        again = "Put right what failed and give the same command again"
        if tally.counts["ran"]:
            lines.append(f"  Finished work is kept. {again}: it goes on from there.")
        else:
            lines.append(f"  Nothing was made. {again}.")
        if flag := remedy(tally.skipped):
            lines.append(f"  {flag}")
    return lines


def _logs(tally: Tally, names: Sequence[str]) -> str:
    """The log of the first of some nodes that failed alike, and how many others there are."""
    logs = [one.log for one in tally.failed if one.name in names and one.log]
    more = f", and {len(logs) - 1} more" if len(logs) > 1 else ""
    return f" (log: {logs[0]}{more})" if logs else ""
