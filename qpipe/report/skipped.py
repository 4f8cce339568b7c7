"""Nodes that were skipped, told by their cause: a line for each cause, not for each node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from qpipe.core.events import AFTER_FAILURE, FORESEEN, Event, NodeFinished, RunFinished

# Causes whose nodes are skipped now and then until the run ends.
_LASTING = (AFTER_FAILURE, FORESEEN)

_CAUSES = {
    AFTER_FAILURE: "as nothing new starts after a failure",
    FORESEEN: "as nothing starts where a failure is foreseen",
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


class SkippedNodes:
    """Skipped nodes that no line was shown of yet, by cause."""

    def __init__(self) -> None:
        """Nothing was skipped yet."""
        self._names: dict[str, list[str]] = {}

    def lines(self, event: Event) -> Iterator[str]:
        """Take note of an event; give the lines of causes that skip no further nodes.

        What needs a node that failed is skipped at once, before anything else happens.
        """
        if isinstance(event, NodeFinished) and event.status == "skipped":
            self._names.setdefault(event.error or "", []).append(event.name)
            return
        ended = isinstance(event, RunFinished)
        for cause in [c for c in self._names if ended or c not in _LASTING]:
            names = self._names.pop(cause)
            if len(names) == 1 and cause not in _LASTING:
                yield f"{names[0]} (because of {cause})"
            else:
                yield phrase(len(names), cause)
