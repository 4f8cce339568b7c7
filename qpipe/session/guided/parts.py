"""The parts of a guided sweep's plan: its levels, and what of each is measured by when."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from qpipe.core.graph import Graph, Node, Plan, PlannedJob
from qpipe.errors import RecipeError
from qpipe.recipe.divergences import is_divergence

MODEL, TOKENS, BEGUN = "model", "tokens", "begun"
"""Roles of a measurement."""


@dataclass(frozen=True)
class SweptLevel:
    """A level of a sweep: what reports call it, its whole measurement, and its jobs' places."""

    label: str
    whole: Node
    stage: str
    jobs: Sequence[int]

    @property
    def id(self) -> str:
        """The id of the whole measurement."""
        return self.whole.id

    @property
    def model(self) -> str:
        """The id of the node that makes it."""
        return self.whole.inputs[MODEL]

    def of_first(self, windows: int, begun: Node | None) -> Node:
        """The measurement of so many windows, which goes on from what was ``begun``."""
        name = self.whole.name
        words = f"first={windows}"
        named = f"{name[:-1]} {words}]" if name.endswith("]") else f"{name}[{words}]"
        node = replace(self.whole, name=named, params={**self.whole.params, "first": windows})
        return _after(node, begun)

    def to_the_end(self, begun: Node | None) -> Node:
        """The measurement of the whole text, which goes on from what was ``begun``: the same node
        and key as without."""
        return _after(self.whole, begun)


def _after(node: Node, begun: Node | None) -> Node:
    if begun is None:
        return node
    runtime = replace(node.runtime, head_starts=frozenset((BEGUN,)))
    return replace(node, inputs={**node.inputs, BEGUN: begun.id}, runtime=runtime)


def groups(plan: Plan) -> list[list[SweptLevel]]:
    """The levels that are compared with each other: measured alike, on the same tokens and against
    the same reference. Raises RecipeError where none has another beside it."""
    places: dict[str, list[int]] = {}
    stages: dict[str, str] = {}
    for place, job in enumerate(plan.jobs):
        for stage, node in job.nodes.items():
            if is_divergence(plan.graph[node].stage, plan.graph[node].params):
                places.setdefault(node, []).append(place)
                stages[node] = stage
    alike: dict[str, list[SweptLevel]] = {}
    for node, jobs in places.items():
        whole = plan.graph[node]
        label = plan.jobs[jobs[0]].label or whole.name
        level = SweptLevel(label, whole, stages[node], jobs)
        alike.setdefault(_how(whole), []).append(level)
    if all(len(levels) == 1 for levels in alike.values()):
        raise RecipeError(
            "hydra/sweeper=qpipe_pareto: no two levels of this sweep are measured alike, on the "
            "same tokens and against the same reference, so there is nothing to compare: sweep "
            "over the quantization, such as -m quantize.type=Q8_0,Q6_K,Q4_K_M"
        )
    return [*alike.values()]


def _how(node: Node) -> str:
    others = {role: source for role, source in node.inputs.items() if role != MODEL}
    return json.dumps([node.stage, node.version, node.params, node.engine, others], sort_keys=True)


def with_measurements(
    plan: Plan, levels: Iterable[SweptLevel], measured: Mapping[str, Sequence[Node]]
) -> Plan:
    """The plan with those measurements alone: of each level by its id all that it has, the last of
    which its jobs have in the place of the whole one."""
    every = [*levels]
    bare = without(plan, [level.id for level in every])
    nodes = [*bare.graph.values(), *(part for parts in measured.values() for part in parts)]
    jobs = [{**job.nodes} for job in bare.jobs]
    for level in every:
        if parts := measured.get(level.id):
            for place in level.jobs:
                jobs[place][level.stage] = parts[-1].id
    rewired = [replace(job, nodes=own) for job, own in zip(bare.jobs, jobs, strict=True)]
    return Plan(Graph(nodes), rewired)


def sources_of(plan: Plan, nodes: Collection[str]) -> Plan:
    """The plan of all that these nodes are made from, without them."""
    needed: set[str] = set()
    front = [*nodes]
    while front:
        inputs = {*plan.graph[front.pop()].inputs.values()} - needed
        needed |= inputs
        front.extend(inputs)
    return without(plan, [node for node in plan.graph if node not in needed])


def without(plan: Plan, dropped: Collection[str]) -> Plan:
    """The plan without some nodes and all that needs them."""
    gone = {*dropped}
    for node in dropped:
        gone.update(plan.graph.downstream(node))
    kept = {node for node in plan.graph if node not in gone}
    jobs = [_job(job, kept) for job in plan.jobs]
    return Plan(Graph(node for node in plan.graph.values() if node.id in kept), jobs)


def _job(job: PlannedJob, kept: Collection[str]) -> PlannedJob:
    reference = job.reference if job.reference in kept else None
    nodes = {stage: node for stage, node in job.nodes.items() if node in kept}
    return replace(job, nodes=nodes, reference=reference)
