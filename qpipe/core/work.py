"""The work on nodes: those that wait, which of them go in one pass, and what an end comes to."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from qpipe.core import integrity
from qpipe.core.executor import WorkEnd, WorkItem, WorkOutput
from qpipe.core.graph import Node, Resources
from qpipe.core.manifest import Manifest
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
    """Misses by what they need, so that one look tells whether any of a kind fits.

    Nodes in ``alone`` share no pass: each with how the one that it shared has ended.
    """

    alone: dict[str, QpipeError] = field(default_factory=dict)
    _misses: dict[Resources, deque[Miss]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """True if anything waits."""
        return bool(self._misses)

    def add(self, miss: Miss) -> None:
        """Have a node wait behind those that need the same."""
        self._misses.setdefault(miss.needs, deque()).append(miss)

    def kinds(self) -> Iterator[tuple[Resources, deque[Miss]]]:
        """Each kind of needs with those that wait; a kind of which nothing is left goes."""
        for needs, misses in list(self._misses.items()):
            yield needs, misses
            if not misses:  # needs that depend on sizes make a kind of almost every node
                del self._misses[needs]

    def one_pass(self, miss: Miss) -> list[Miss]:
        """``miss``, and those taken from the waiting that read the same input with it."""
        misses = self._misses.get(miss.needs, deque())
        if miss.read is None or miss.node.id in self.alone:
            return [miss]
        same = [
            other for other in misses if other.read == miss.read and other.node.id not in self.alone
        ][: _PASS - 1]
        for other in same:
            misses.remove(other)
        return [miss, *same]


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
    """The manifest of what a work item made, finished now."""
    node = item.node
    digests = node.digests({role: artifact.manifest for role, artifact in inputs.items()})
    return Manifest(
        key=item.key,
        id=node.id,
        name=node.name,
        stage=node.stage,
        version=node.version,
        params=node.params,
        engine=node.engine,
        inputs={
            role: {"key": artifact.key, "digest": digests[role], "name": artifact.manifest.name}
            for role, artifact in inputs.items()
        },
        files=output.files,
        facts=output.facts,
        usage=output.usage,
        tools=output.tools,
        machine=output.machine,
        created=time.time(),
    )
