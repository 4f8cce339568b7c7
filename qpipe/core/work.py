"""The work on nodes: those that wait, which of them go in one pass, and what an end comes to."""

from __future__ import annotations

import bisect
import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from qpipe.core import integrity
from qpipe.core.claim import Claim
from qpipe.core.executor import WorkEnd, WorkItem, WorkOutput
from qpipe.core.graph import Graph, Node, Resources
from qpipe.core.key import Json
from qpipe.core.manifest import Manifest
from qpipe.core.priority import Priority
from qpipe.core.store import Artifact, ArtifactStore
from qpipe.errors import QpipeError, StoreError

# Nodes of one pass, at most: a worker that is killed takes all of its pass along.
_PASS = 12


@dataclass(frozen=True)
class Miss:
    """A node that is not in the store, and all that starting it takes."""

    node: Node
    key: str
    inputs: Mapping[str, Artifact]
    needs: Resources

    @property
    def read(self) -> tuple[str, str | None, float | None, str] | None:
        """The traits that nodes of one pass share; None for a node that works by itself."""
        runtime = self.node.runtime
        if runtime.reads_once is None:
            return None
        artifact = self.inputs[runtime.reads_once]
        return runtime.entry, runtime.python, runtime.timeout, artifact.key


@dataclass
class Pending:
    """Misses by what they need, so that one look tells whether any of a kind fits; those of a kind
    in the order of their ``priorities``, which are by node id.

    Nodes in ``alone`` share no pass: each with how the one that it shared has ended.
    """

    priorities: Mapping[str, Priority]
    alone: dict[str, QpipeError] = field(default_factory=dict)
    _misses: dict[Resources, list[Miss]] = field(default_factory=dict)
    _passed: Counter[str] = field(default_factory=Counter)
    """Cores taken by those that passed a node which waits for room, by its id."""

    def __bool__(self) -> bool:
        """True if anything waits."""
        return bool(self._misses)

    def add(self, miss: Miss) -> None:
        """Have a node wait."""
        bisect.insort(self._misses.setdefault(miss.needs, []), miss, key=self._priority)

    def take(self, fits: Callable[[Miss], bool]) -> Iterator[Miss]:
        """Take those that fit, each the first of all that still do, as `qpipe.core.lookahead` has
        it: those of a later model only while none waits.

        What did not fit is not asked for again: between two of them nothing is freed.
        """
        heads = [(self._priority(misses[0]), needs) for needs, misses in self._misses.items()]
        heapq.heapify(heads)
        waiting: Miss | None = None
        while heads:
            priority, needs = heapq.heappop(heads)
            misses = self._misses[needs]
            if waiting is not None and not self._may_pass(waiting, priority):
                return
            if not fits(misses[0]):
                waiting = waiting or misses[0]
                continue
            if waiting is not None:
                self._passed[waiting.node.id] += max(1, needs.cpus)
            yield misses.pop(0)
            if misses:
                heapq.heappush(heads, (self._priority(misses[0]), needs))
            else:  # needs that depend on sizes make a kind of almost every node
                del self._misses[needs]

    def _may_pass(self, waiting: Miss, priority: Priority) -> bool:
        """True if a node of this priority may start before one that waits for room."""
        same = priority.era == self._priority(waiting).era
        return same and self._passed[waiting.node.id] < max(1, waiting.needs.cpus)

    def _priority(self, miss: Miss) -> Priority:
        return self.priorities[miss.node.id]

    def one_pass(self, miss: Miss) -> list[Miss]:
        """``miss``, and those taken from the waiting that read the same input with it."""
        misses = self._misses.get(miss.needs, [])
        if miss.read is None or miss.node.id in self.alone:
            return [miss]
        same = [
            other for other in misses if other.read == miss.read and other.node.id not in self.alone
        ][: _PASS - 1]
        for other in same:
            misses.remove(other)
        return [miss, *same]


def digests(node: Node, inputs: Mapping[str, Artifact]) -> Mapping[str, str]:
    """The content digests that a node's key takes of its inputs, by role."""
    return node.digests({role: artifact.manifest for role, artifact in inputs.items()})


def error_of(done: WorkEnd) -> QpipeError | None:
    """The error that ended a work item, None if it has an output."""
    return done.outcome if isinstance(done.outcome, QpipeError) else None


def changed_input(
    store: ArtifactStore, done: WorkEnd, inputs: Mapping[str, Artifact]
) -> StoreError | None:
    """The error if an input is no longer what its digest says, else None.

    What was made from such an input is worth nothing.
    """
    if isinstance(done.outcome, WorkOutput):  # a link to an input's file gave that another stamp
        integrity.learn(done.item.out, done.outcome.files, store.digests)
    for artifact in inputs.values():
        try:
            problem = store.changed(artifact)
        except OSError as error:
            problem = f"it cannot be read ({error})"
        if problem is not None:
            return StoreError(
                f"{done.item.node.name}: its input {artifact.path} changed while it was in use: "
                f"{problem}; run the same command again, it is made anew"
            )
    return None


def manifest(item: WorkItem, output: WorkOutput, inputs: Mapping[str, Artifact]) -> Manifest:
    """The manifest of what a work item made, finished now; its facts say for what."""
    node = item.node
    of_inputs = digests(node, inputs)
    return Manifest(
        key=item.key,
        id=node.id,
        name=node.name,
        stage=node.stage,
        version=node.version,
        params=node.params,
        engine=node.engine,
        inputs={
            role: {"key": artifact.key, "digest": of_inputs[role], "name": artifact.manifest.name}
            for role, artifact in inputs.items()
            if role in of_inputs
        },
        files=output.files,
        facts={**output.facts, **({"made_for": node.made_for} if node.made_for else {})},
        usage=output.usage,
        tools=output.tools,
        machine=output.machine,
        created=time.time(),
    )


def work_item(miss: Miss, claim: Claim, graph: Graph) -> WorkItem:
    """The work item of a miss that was claimed."""
    node = miss.node
    paths = {role: artifact.path for role, artifact in miss.inputs.items()}
    origins = {
        role: {**artifact.manifest.origin, **_shown(graph[node.inputs[role]])}
        for role, artifact in miss.inputs.items()
    }
    return WorkItem(
        node,
        miss.key,
        paths,
        claim.folder,
        claim.partial,
        claim.fd,
        miss.needs,
        origins,
        claim.hashes,
    )


def _shown(source: Node) -> Mapping[str, Json]:
    """The user's name (``shown``) for the folder of an input that is a source; else nothing."""
    where = source.runtime.where
    return {"shown": where["shown"]} if "shown" in where else {}
