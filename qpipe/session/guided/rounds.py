"""The events of a guided sweep as those of one run: each node is told of once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qpipe.core.events import Emit, Event, NodeFinished, RunStarted, fan_out


class Rounds:
    """A listener that passes on what later rounds have that earlier ones had not."""

    def __init__(self, listeners: Sequence[Emit]) -> None:
        """Keep the listeners."""
        self._emit = fan_out(listeners)
        self._begun: set[str] = set()
        self._ended: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Pass an event on, without nodes that have ended in an earlier round."""
        if isinstance(event, RunStarted):
            nodes = {node: name for node, name in event.nodes.items() if node not in self._begun}
            self._begun |= nodes.keys()
            event = replace(event, nodes=nodes)
        elif isinstance(event, NodeFinished):
            if event.node in self._ended and event.status in ("cached", "skipped"):
                return
            self._ended.add(event.node)
        self._emit(event)
