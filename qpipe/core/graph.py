"""Nodes, their order, cycles, and the merging of many jobs' graphs into one.

A graph holds each node once, under its id, inputs before the nodes that use them. Two jobs that
configure the same work produce the same id, so merging is a union.
"""

from __future__ import annotations

import graphlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from qpipe.core import key
from qpipe.core.key import Json
from qpipe.errors import GraphError, nearest

if TYPE_CHECKING:
    from qpipe.core.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources that a node takes as it runs: CPU cores, bytes of memory (0: not said), GPUs.

    Once the inputs, and so their sizes, are there, ``memory_per_input_byte`` adds to ``memory``,
    and of ``cpus`` only one is taken for each begun ``input_bytes_per_cpu`` (0: all), each with
    ``memory_per_cpu`` bytes; inputs are all of them, or the one in role ``sized_by``.
    """

    cpus: int = 1
    memory: int = 0
    gpus: int = 0
    memory_per_input_byte: float = 0.0
    input_bytes_per_cpu: int = 0
    memory_per_cpu: int = 0
    sized_by: str | None = None

    def with_inputs(self, sizes: Mapping[str, int]) -> Resources:
        """The needs of a node whose inputs have these ``sizes`` in bytes, by role."""
        if not (self.memory_per_input_byte or self.input_bytes_per_cpu or self.memory_per_cpu):
            return self
        size = sum(sizes.values()) if self.sized_by is None else sizes[self.sized_by]
        memory = self.memory + int(self.memory_per_input_byte * size)
        cpus = self.cpus
        if self.input_bytes_per_cpu:
            cpus = max(1, min(cpus, -(-size // self.input_bytes_per_cpu)))
        return Resources(cpus, memory + cpus * self.memory_per_cpu, self.gpus)


@dataclass(frozen=True, slots=True)
class Runtime:
    """Settings of where and how a node runs. Never part of an id or key.

    ``entry`` names the code, as ``module:attribute``; it comes from the installed stages, never
    from a recipe. ``python`` is the interpreter (None: this one). ``where`` holds what locates a
    pinned source here (paths, endpoints). ``timeout`` is in seconds. ``reads_once`` is the role of
    an input that one pass reads for several nodes of this ``entry``. ``dispensable`` are roles
    without which the node runs where what fills them could not be made; its key is then without
    them too. ``head_starts`` are roles of work done before that spares the node some and makes no
    difference to what comes out: it runs without them too, and neither id nor key has them.
    ``unread`` are, by role, patterns of the files of an input that make no difference to
    the node, and ``nameless`` the roles of which a single file's name makes none: its key is
    without them. ``asides`` are parameters that make no difference to what comes out, as far as
    they are not at their defaults; a node that has any is asked what it refuses even if cached.
    ``imports`` are modules that the code imports, slowly, and that do nothing when imported.
    """

    entry: str
    resources: Resources = Resources()
    python: str | None = None
    timeout: float | None = None
    where: Mapping[str, Json] = field(default_factory=dict)
    reads_once: str | None = None
    dispensable: frozenset[str] = frozenset()
    head_starts: frozenset[str] = frozenset()
    unread: Mapping[str, Sequence[str]] = field(default_factory=dict)
    nameless: frozenset[str] = frozenset()
    asides: Mapping[str, Json] = field(default_factory=dict)
    imports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Node:
    """One piece of work: a stage with validated parameters, applied to the outputs of others.

    ``inputs`` maps a role to the id of the node that fills it. ``name``, and ``made_for``, that of
    the thing that all of it is about, are for people and part of no id or key.
    """

    name: str
    stage: str
    version: int
    params: Mapping[str, Json]
    engine: Mapping[str, Json]
    inputs: Mapping[str, str]
    runtime: Runtime
    made_for: str | None = None

    @cached_property
    def id(self) -> str:
        """The Merkle hash of this node's configuration."""
        return key.node_id(
            stage=self.stage,
            version=self.version,
            params=self.params,
            engine=self.engine,
            inputs=self.decisive,
        )

    @cached_property
    def decisive(self) -> Mapping[str, str]:
        """The inputs that make a difference to what comes out: all but head starts."""
        spared = self.runtime.head_starts
        return {r: n for r, n in self.inputs.items() if r not in spared} if spared else self.inputs

    def needs(self, node_id: str) -> bool:
        """True if it cannot run without the output of the node ``node_id``, one of its inputs."""
        roles = {role for role, node in self.inputs.items() if node == node_id}
        return not roles <= self.runtime.dispensable | self.runtime.head_starts

    def digests(self, inputs: Mapping[str, Manifest]) -> dict[str, str]:
        """The content digest of each input, by role, as far as it makes a difference here."""
        return {
            role: manifest.digest_but(
                self.runtime.unread.get(role, ()), nameless=role in self.runtime.nameless
            )
            for role, manifest in inputs.items()
            if role not in self.runtime.head_starts
        }

    def key(self, digests: Mapping[str, str]) -> str:
        """The artifact key, given the content digest of each input by role."""
        return key.artifact_key(
            stage=self.stage,
            version=self.version,
            params=self.params,
            engine=self.engine,
            inputs=digests,
        )


class Graph(Mapping[str, Node]):
    """Nodes by id, every input before its users."""

    def __init__(self, nodes: Iterable[Node] = ()) -> None:
        """Raises GraphError if an input is missing or comes after its user."""
        self._nodes: dict[str, Node] = {}
        for node in nodes:
            for role, input_id in node.inputs.items():
                if input_id not in self._nodes:
                    raise GraphError(f"{node.name}: its input {role!r} is no node of the graph")
            self._nodes.setdefault(node.id, node)

    def __getitem__(self, node: str) -> Node:
        return self._nodes[node]

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    @cached_property
    def users(self) -> Mapping[str, Sequence[str]]:
        """The ids of the nodes that take each node's output."""
        users: dict[str, list[str]] = {node: [] for node in self._nodes}
        for node in self._nodes.values():
            for input_id in dict.fromkeys(node.inputs.values()):
                users[input_id].append(node.id)
        return users

    def downstream(self, node: str, *, stop: Container[str] = ()) -> list[str]:
        """The ids of everything that cannot do without ``node``, directly or not, in graph order.

        What is in ``stop`` is left out, and so is what only it leads to.
        """
        users_below: set[str] = set()
        front = [node]
        while front:
            node_id = front.pop()
            users = [
                user
                for user in self.users[node_id]
                if user not in stop and self[user].needs(node_id)
            ]
            front.extend(user for user in users if user not in users_below)
            users_below.update(users)
        return sorted(users_below, key=self._positions.__getitem__)

    @cached_property
    def _positions(self) -> Mapping[str, int]:
        return {node: position for position, node in enumerate(self._nodes)}

    def renamed(self, names: Mapping[str, str], made_for: Mapping[str, str | None]) -> Graph:
        """The same graph with other display names of nodes and of what they are about, by id."""
        return Graph(
            _renamed(node, names.get(node.id, node.name), made_for.get(node.id, node.made_for))
            for node in self.values()
        )


def _renamed(node: Node, name: str, made_for: str | None) -> Node:
    copy = replace(node, name=name, made_for=made_for)
    vars(copy)["id"] = node.id  # names are no part of it
    return copy


def merge(graphs: Iterable[Graph]) -> Graph:
    """The union of many graphs; a node that several share is in it once."""
    return Graph(node for graph in graphs for node in graph.values())


def order(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """Names in an order in which each comes after what it needs.

    Raises GraphError for a cycle, written out, and for a need that is not there.
    """
    inputs_of = {name: list(inputs) for name, inputs in needs.items()}
    for name, inputs in inputs_of.items():
        for input_name in inputs:
            if input_name not in inputs_of:
                raise GraphError(
                    f"stage {name!r} needs {input_name!r}, which is no stage of this recipe; "
                    + nearest(input_name, inputs_of)
                )
    try:
        return list(graphlib.TopologicalSorter(inputs_of).static_order())
    except graphlib.CycleError as error:
        cycle = " → ".join(reversed(error.args[1]))
        raise GraphError(
            f"the stages form a cycle: {cycle} (each needs the next); take one of these needs away"
        ) from None


@dataclass(frozen=True)
class PlannedJob:
    """One job of a plan: what sets it apart from others of its model in words, its overrides, its
    nodes' ids by stage name, and the reference's id."""

    label: str
    overrides: Sequence[str]
    nodes: Mapping[str, str]
    reference: str | None


@dataclass(frozen=True)
class Plan:
    """One graph for all ``jobs``."""

    graph: Graph
    jobs: Sequence[PlannedJob]
