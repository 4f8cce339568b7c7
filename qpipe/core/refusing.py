"""What would fail, asked before hours are spent on what leads there."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from dataclasses import dataclass

from qpipe.core.again import Again
from qpipe.core.executor import Executor
from qpipe.core.graph import Graph, Node
from qpipe.core.run_settings import RunSettings
from qpipe.core.store import ArtifactStore
from qpipe.errors import EngineMissingError, QpipeError


@dataclass(frozen=True)
class Refusing:
    """Questions whether nodes can run, and run here, to those who know."""

    store: ArtifactStore
    executor: Executor
    settings: RunSettings
    again: Again

    def refused(self, graph: Graph, ended: Container[str]) -> Iterator[tuple[Node, QpipeError]]:
        """Yield the nodes that would fail, with the error, but for those that have ``ended``."""
        for node in graph.values():
            made = self._was_made(node)
            if node.id in ended or (made and not node.runtime.asides):
                continue
            why = None if made else self._missing(node)
            missing = EngineMissingError(f"{node.name}: {why}") if why else None
            if error := missing or self.settings.refuses(node):
                yield node, error

    def _missing(self, node: Node) -> str | None:
        return self.executor.check(node.runtime.resources) or self.settings.lacks(node)

    def _was_made(self, node: Node) -> bool:
        """True if its artifact is there, provided its inputs come out as they did before."""
        key = None if node in self.again else self.store.key_of(node.id)
        return key is not None and os.path.lexists(self.store.paths.artifact(key))
