"""What a run takes of the machine: memory and seconds by stage, and the most bytes on disk at one
time where what was measured goes at once (run.keep=results)."""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from qpipe.core.dropped import LARGE
from qpipe.core.graph import Graph, Node
from qpipe.core.priority import priorities
from qpipe.session.estimates import NodeEstimate

# Stages whose artifacts a run is for, which stay.
_RESULTS = ("evaluate",)


@dataclass(frozen=True)
class StageCost:
    """The cost of the ``nodes`` of a ``stage`` that are to be made: the most bytes of ``memory`` of
    one of them, ``measured`` on this machine or as the stage declares them (None: neither), and
    cards (``gpus``) with about so much memory each; ``seconds`` of ``timed`` of the nodes together,
    None where none is known."""

    stage: str
    nodes: int
    memory: int | None = None
    measured: bool = False
    gpus: int = 0
    gpu_memory: int | None = None
    seconds: float | None = None
    timed: int = 0


@dataclass(frozen=True)
class DroppedNode:
    """A node whose ``bytes`` may go once ``after``, the last that takes them, has ended."""

    name: str
    after: str
    bytes: int


@dataclass(frozen=True)
class RunCost:
    """The cost of a run by stage; ``at_once`` are the most bytes on disk at a time where what may
    go does, one node after another, and ``dropped`` what goes when."""

    stages: tuple[StageCost, ...] = ()
    at_once: int = 0
    dropped: tuple[DroppedNode, ...] = ()

    @property
    def memory(self) -> StageCost | None:
        """The stage that takes the most memory; None where nothing is known of any."""
        known = [each for each in self.stages if each.memory is not None]
        return max(known, key=lambda each: each.memory or 0, default=None)

    @property
    def gpu(self) -> StageCost | None:
        """The stage that takes the most memory of cards; None where none takes any."""
        known = [each for each in self.stages if each.gpus]
        return max(known, key=lambda each: (each.gpu_memory or 0, each.gpus), default=None)


def cost(
    graph: Graph,
    jobs: Sequence[Iterable[str]],
    *,
    made: Container[str],
    estimates: Mapping[str, NodeEstimate],
    sizes: Mapping[str, int],
    written: Mapping[str, int],
) -> RunCost:
    """Add up what those nodes of a graph take that are to be ``made``. By id, as far as they are
    known: ``sizes``, the bytes that all have or will have, and what those to be made add to the
    disk of the store (``written``)."""
    groups: dict[str, list[str]] = {}
    for node_id in graph:
        if node_id in made:
            groups.setdefault(graph[node_id].name.partition("[")[0], []).append(node_id)
    stages = [
        _stage(name, [graph[each] for each in members], estimates, sizes)
        for name, members in groups.items()
    ]
    at_once, dropped = _disk(graph, jobs, {node for node in graph if node in made}, written)
    return RunCost(tuple(stages), at_once, tuple(dropped))


def _stage(
    name: str,
    nodes: Sequence[Node],
    estimates: Mapping[str, NodeEstimate],
    sizes: Mapping[str, int],
) -> StageCost:
    peaks: list[tuple[int, bool]] = []
    cards: list[int] = []
    for node in nodes:
        measured = estimates.get(node.id, NodeEstimate()).memory
        known = declared(node, sizes) if measured is None else measured
        if known is not None:
            peaks.append((known, measured is not None))
        if node.runtime.resources.gpus and (size := _model(node, sizes)) is not None:
            cards.append(size // node.runtime.resources.gpus)
    most, is_measured = max(peaks, default=(None, False))
    seconds = [e.seconds for n in nodes if (e := estimates.get(n.id)) and e.seconds is not None]
    return StageCost(
        name,
        len(nodes),
        most,
        is_measured,
        max(node.runtime.resources.gpus for node in nodes),
        max(cards, default=None),
        sum(seconds) if seconds else None,
        len(seconds),
    )


def declared(node: Node, sizes: Mapping[str, int]) -> int | None:
    """The bytes of memory that a node's stage declares, which an executor books; None where it
    declares none, or by the size of an input that is not among ``sizes``."""
    needs = node.runtime.resources
    if not (needs.memory_per_input_byte or needs.memory_per_cpu):
        return needs.memory or None
    known = {role: sizes[each] for role, each in node.inputs.items() if each in sizes}
    wanted = node.inputs.keys() if needs.sized_by is None else {needs.sized_by}
    if not wanted <= known.keys():
        return None
    return needs.with_inputs(known).memory or None


def _model(node: Node, sizes: Mapping[str, int]) -> int | None:
    """The bytes of the model that a node loads."""
    role = node.runtime.resources.sized_by or "model"
    source = node.inputs.get(role) or node.inputs.get("checkpoint")
    return None if source is None else sizes.get(source)


def _disk(
    graph: Graph, jobs: Sequence[Iterable[str]], made: set[str], written: Mapping[str, int]
) -> tuple[int, list[DroppedNode]]:
    """The most bytes at a time with one node after another, in the order in which a run starts
    them, and what goes when, as `qpipe.core.dropping` has it."""
    left = {node: {user for user in graph.users[node] if user in made} for node in made}
    now = most = 0
    dropped: list[DroppedNode] = []
    for node_id in _order(graph, jobs, made):
        now += written.get(node_id, 0)
        most = max(most, now)
        for source in dict.fromkeys(graph[node_id].inputs.values()):
            if source not in made:
                continue
            left[source].discard(node_id)
            size = written.get(source, 0)
            if not left[source] and size >= LARGE and _may_go(graph[source]):
                now -= size
                dropped.append(DroppedNode(graph[source].name, graph[node_id].name, size))
    return most, dropped


def _may_go(node: Node) -> bool:
    return bool(node.inputs) and node.stage not in _RESULTS


def _order(graph: Graph, jobs: Sequence[Iterable[str]], made: set[str]) -> Iterable[str]:
    """The nodes in the order in which they start where one runs at a time."""
    ranks = priorities(graph, jobs)
    missing = {node: {i for i in graph[node].inputs.values() if i in made} for node in made}
    ready = [(ranks[node], node) for node in made if not missing[node]]
    heapq.heapify(ready)
    while ready:
        _, node = heapq.heappop(ready)
        yield node
        for user in graph.users[node]:
            if user in made and node in missing[user]:
                missing[user].discard(node)
                if not missing[user]:
                    heapq.heappush(ready, (ranks[user], user))
