"""Nodes that were refused or skipped, told by their cause: a line a cause, not a line a node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from qpipe.core.events import (
    AFTER_FAILURE,
    DISK_FULL,
    FORESEEN,
    Event,
    NodeFinished,
    NodeStarted,
    RunFinished,
)
from qpipe.report import alike

# Causes whose nodes are skipped now and then until the run ends.
_LASTING = (AFTER_FAILURE, FORESEEN, DISK_FULL)

_CAUSES = {
    AFTER_FAILURE: "as nothing new starts after a failure",
    FORESEEN: "as nothing starts where a failure is foreseen",
    DISK_FULL: "as the disk is full",
}

_REMEDIES = {
    AFTER_FAILURE: "--keep-going goes on with what does not need what failed.",
    FORESEEN: "--keep-going, or run.skip_invalid=true, runs what does not need what failed.",
}


def phrase(count: int, cause: str) -> str:
    """Return how many nodes were skipped, and why: ``12 nodes that needed quantize[IQ1_S]``."""
    nodes = f"{count} node{'' if count == 1 else 's'}"
    why = _CAUSES.get(cause)
    return f"{nodes} that needed {cause}" if why is None else f"{nodes}, {why}"


def remedy(causes: Iterable[str]) -> str:
    """The flag that would have had the nodes run that were skipped for these causes, or nothing."""
    return next((_REMEDIES[cause] for cause in causes if cause in _REMEDIES), "")


def by_cause(
    skipped: Mapping[str, int], groups: Sequence[Sequence[str]]
) -> Iterator[tuple[int, str]]:
    """Yield numbers of skipped nodes with their causes; causes of a group of nodes are one."""
    left = dict(skipped)
    for names in groups:
        counts = [left.pop(name) for name in names if name in left]
        if counts:
            yield sum(counts), alike.nodes(names)
    for cause, count in left.items():
        yield count, cause


class EndedUnstarted:
    """Nodes that ended without having started and that no line was shown of yet.

    What is refused comes one after the other, each followed by what needs it.
    """

    def __init__(self) -> None:
        """Nothing has ended yet."""
        self._started: set[str] = set()
        self._refused: list[tuple[str, str]] = []
        self._skipped: dict[str, list[str]] = {}

    def takes(self, event: Event) -> bool:
        """Take note of an event; return whether `lines` shows it."""
        if isinstance(event, NodeStarted):
            self._started.add(event.node)
        if not isinstance(event, NodeFinished):
            return False
        if event.status == "skipped":
            self._skipped.setdefault(event.error or "", []).append(event.name)
            return True
        if event.status == "failed" and event.node not in self._started:
            self._refused.append((event.name, event.error or ""))
            return True
        return False

    def lines(self, event: Event) -> Iterator[tuple[str, str]]:
        """Yield kind and text of the lines that are due before an event that `takes` did not."""
        groups = alike.grouped(self._refused)
        self._refused.clear()
        ended = isinstance(event, RunFinished)
        for names, reason in groups:
            yield "failed", f"failed   {alike.nodes(names)}: {reason}"
        due = [c for c in self._skipped if ended or c not in _LASTING]
        names_by_cause = {cause: self._skipped.pop(cause) for cause in due}
        counts = {cause: len(names) for cause, names in names_by_cause.items()}
        for count, cause in by_cause(counts, [names for names, _ in groups]):
            names = names_by_cause.get(cause, [])
            if len(names) == 1 and cause not in _LASTING:
                yield "skipped", f"skipped  {names[0]} (because of {cause})"
            else:
                yield "skipped", f"skipped  {phrase(count, cause)}"
