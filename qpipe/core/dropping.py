"""Which artifacts nothing of a run needs any more, and which that went are needed after all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qpipe.core import dropped
from qpipe.core.events import Emit, Warned
from qpipe.core.graph import Graph, Node
from qpipe.core.outcome import Outcome
from qpipe.core.run_settings import RunSettings
from qpipe.core.store import Artifact, ArtifactStore
from qpipe.errors import QpipeError


@dataclass
class Dropping:
    """The work of a run that keeps its results alone: what it made itself goes once all that takes
    it has ended well, unless it is small, a source, a result, or taken by nothing."""

    graph: Graph
    store: ArtifactStore
    settings: RunSettings
    outcomes: Mapping[str, Outcome]
    emit: Emit
    _hollow: set[str] = field(default_factory=set)
    """Nodes whose artifact is a manifest alone by now."""
    _untold: set[str] = field(default_factory=set)
    """Nodes that ended so, and may have to be made after all."""
    _holders: dict[str, list[str]] = field(default_factory=dict)
    """The nodes that ended with the artifact of a key."""
    _wanted: set[str] = field(default_factory=set)
    """Nodes whose bytes are needed after all."""

    def recall(self, node: Node, key: str) -> Artifact | None:
        """Return the artifact of a node whose bytes went, as far as nothing needs them here."""
        if not self.settings.results_only or node.id in self._wanted:
            return None
        if not self.graph.users[node.id] or node.id in self.settings.again:
            return None
        artifact = dropped.recall(self.store, key)
        if artifact is not None:
            self._hollow.add(node.id)
            self._untold.add(node.id)
        return artifact

    def needed(self, node: Node) -> list[str]:
        """Return the inputs of a node that is to be made whose bytes went: they are made first."""
        inputs = [each for each in dict.fromkeys(node.inputs.values()) if each in self._hollow]
        self._hollow.difference_update(inputs)
        self._untold.difference_update(inputs)
        self._wanted.update(inputs)
        return inputs

    def ended(self, outcome: Outcome) -> None:
        """Remove what nothing needs any more now that a node has ended."""
        if not self.settings.results_only:
            return
        if outcome.artifact is not None:
            holders = self._holders.setdefault(outcome.artifact.key, [])
            holders.append(outcome.node.id)
            if outcome.status == "ran":
                self._hollow.difference_update(holders)
        for each in dict.fromkeys(outcome.node.inputs.values()):
            made = self.outcomes.get(each)
            if made is not None and made.artifact is not None and self._may_go(made.artifact):
                self._drop(made.artifact)

    def _drop(self, artifact: Artifact) -> None:
        try:
            dropped.drop(self.store, artifact)
        except QpipeError as error:
            self.emit(Warned(f"{artifact.manifest.name}: its bytes stay: {error}"))
        self._hollow.update(self._holders[artifact.key])

    def is_untold(self, node: Node) -> bool:
        """True if a node ended with a manifest alone, which is told once nothing can need more."""
        return node.id in self._untold

    def _may_go(self, artifact: Artifact) -> bool:
        """True if this run made it, and all that takes it, of whichever node, has ended well."""
        holders = self._holders[artifact.key]
        if artifact.manifest.size < dropped.LARGE or not self._hollow.isdisjoint(holders):
            return False
        if not any(self.outcomes[node].status == "ran" for node in holders):
            return False
        return all(self._is_done_with(self.graph[node]) for node in holders)

    def _is_done_with(self, node: Node) -> bool:
        if not node.inputs or node.id in self.settings.again:
            return False
        if node.stage in self.settings.results:
            return False
        users = [self.outcomes.get(user) for user in self.graph.users[node.id]]
        ended = all(user is not None and user.status in ("ran", "cached") for user in users)
        return bool(users) and ended
