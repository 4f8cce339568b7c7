"""Telling of nodes that wait for what other processes hold of this machine."""

from __future__ import annotations

from dataclasses import dataclass, field

from qpipe.core.events import Emit, NodeWaiting
from qpipe.core.work import Miss


@dataclass
class HeldUp:
    """Tells of each node what it waits for, once, and again when that changes."""

    emit: Emit
    _told: dict[str, str] = field(default_factory=dict)

    def tell(self, miss: Miss, why: str) -> None:
        """Tell ``why`` a node waits, if it waits for others."""
        node = miss.node
        if why and self._told.get(node.id) != why:
            self._told[node.id] = why
            self.emit(NodeWaiting(node.id, node.name, miss.key, why))
