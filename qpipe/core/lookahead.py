"""How far ahead of the model that is being worked on others may begin.

What belongs to a later model takes only cores and memory that no node of the earliest unfinished
model can still want at one time, so that a large one is measured before the next is fetched, while
small ones go side by side. Nothing of a later model starts while something of an earlier one waits
for room, and what waits may be passed by smaller nodes of its own model until these have taken as
many cores as it takes itself: from then on cores that get free are kept for it. Cores so stand idle
for no longer than what runs already takes, and where nothing runs whatever fits may start.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from qpipe.core.graph import Node, Resources
from qpipe.core.priority import Priority
from qpipe.core.store import Artifact

Fits = Callable[[Sequence[Resources]], bool]
"""Tells whether work items with these needs could run at one time, if nothing else did."""

_NOTHING = Resources(cpus=0)


@dataclass
class Lookahead:
    """Counts, by era, of what the models of a run have to begin yet, and of what runs."""

    priorities: Mapping[str, Priority]
    fits: Fits
    _unbegun: dict[int, Counter[Resources]] = field(default_factory=dict)
    _eras: deque[int] = field(default_factory=deque)
    """Eras in order, those before the first that has something to begin left out."""
    _open: set[str] = field(default_factory=set)
    _running: dict[str, tuple[int, Resources]] = field(default_factory=dict)
    _sizes: dict[int, int] = field(default_factory=dict)
    """Bytes of the largest source of each era that is there."""

    def expect(self, nodes: Iterable[Node]) -> None:
        """Take note of the nodes that are to be looked up or made."""
        for node in nodes:
            era = self.priorities[node.id].era
            self._unbegun.setdefault(era, Counter())[node.runtime.resources] += 1
            self._open.add(node.id)
        self._eras = deque(sorted(self._unbegun))

    def began(self, nodes: Sequence[Node], needs: Resources) -> None:
        """Take note of the nodes that a worker began, whose needs are met once for all."""
        for node in nodes:
            self._settle(node)
            self._running[node.id] = (self.priorities[node.id].era, needs)
            needs = _NOTHING

    def stopped(self, node: Node) -> None:
        """Take note that a node does not run any more."""
        self._running.pop(node.id, None)

    def ended(self, node: Node, artifact: Artifact | None) -> None:
        """Take note of the end of a node of any kind."""
        self._settle(node)
        self.stopped(node)
        if artifact is not None and not node.inputs:
            era = self.priorities[node.id].era
            self._sizes[era] = max(self._sizes.get(era, 0), artifact.manifest.size)

    def allows(self, node: str, needs: Resources) -> bool:
        """True if a node may start as far as earlier models are concerned."""
        if not self._running:
            return True
        era, first = self.priorities[node].era, self._eras[0] if self._eras else 0
        if era <= first:
            return True
        later = [booked for other, booked in self._running.values() if other > first]
        return self.fits([*later, needs, self._most(first)])

    def _settle(self, node: Node) -> None:
        if node.id not in self._open:
            return
        self._open.discard(node.id)
        era, resources = self.priorities[node.id].era, node.runtime.resources
        kinds = self._unbegun[era]
        kinds[resources] -= 1
        if not kinds[resources]:
            del kinds[resources]
        if not kinds:
            del self._unbegun[era]
        while self._eras and self._eras[0] not in self._unbegun:
            self._eras.popleft()

    def _most(self, era: int) -> Resources:
        """The most of each resource that one node of an era may want, by its sources' size."""
        kinds = [self._sized(kind, era) for kind in self._unbegun[era]]
        return Resources(
            cpus=max(kind.cpus for kind in kinds),
            memory=max(kind.memory for kind in kinds),
            gpus=max(kind.gpus for kind in kinds),
        )

    def _sized(self, kind: Resources, era: int) -> Resources:
        size = self._sizes.get(era)
        return kind if size is None else kind.with_inputs({kind.sized_by or "": size})
