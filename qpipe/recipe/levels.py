"""Levels of a sweep that may stop early: each is given those that are smaller, measured before it.

Smaller by what their parameters say a weight takes (`Stage.bits`): that is known before anything
runs and is the same on every machine. The true sizes are compared when a level is measured, so an
order that turns out wrong costs time alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from qpipe.core.graph import Node, order
from qpipe.core.plan import PlannedJob
from qpipe.recipe.draft import ChainRoles


@dataclass(frozen=True)
class Level:
    """A measurement that may end early: bits a weight of its model takes, and a frontier without
    inputs, which is wired by ``roles``."""

    bits: float
    measurement: Node
    frontier: Node
    roles: ChainRoles

    @property
    def model(self) -> str:
        """The id of the model's node."""
        return self.measurement.inputs[self.roles["model"]]


def wired(
    nodes: Mapping[str, Node], jobs: Sequence[PlannedJob], levels: Sequence[Level]
) -> tuple[list[Node], list[PlannedJob]]:
    """The nodes and jobs of a plan, with levels that are measured alike in a chain by size."""
    if not levels:
        return [*nodes.values()], [*jobs]
    made = dict(nodes)
    changed: dict[str, Node] = {}
    frontiers: dict[str, Node] = {}
    for alike in _alike(levels):
        rivals: dict[str, str] = {}
        for level in alike:
            node = changed[level.measurement.id] = _with(level.measurement, rivals)
            if level is not alike[-1]:
                frontier = frontiers[level.measurement.id] = _frontier(level, node, rivals)
                rivals = {level.roles["rivals"]: frontier.id}
    _replace(made, changed)
    made |= {node.id: node for node in frontiers.values()}
    ids = order({node.id: node.inputs.values() for node in made.values()})
    return [made[node] for node in ids], [_job(job, changed, frontiers) for job in jobs]


def _alike(levels: Iterable[Level]) -> list[list[Level]]:
    """Levels that differ by their model alone, smallest first, each model once."""
    found: dict[str, dict[str, Level]] = {}
    for level in levels:
        node = level.measurement
        model = level.roles["model"]
        others = {role: source for role, source in node.inputs.items() if role != model}
        same = json.dumps(
            [node.stage, node.version, node.params, node.engine, others], sort_keys=True
        )
        found.setdefault(same, {}).setdefault(level.model, level)
    return [
        sorted(alike.values(), key=lambda level: (level.bits, level.measurement.id))
        for alike in found.values()
    ]


def _frontier(level: Level, measurement: Node, rivals: Mapping[str, str]) -> Node:
    """One that hands on its ``rivals``, if its own level cannot be made or measured."""
    measured, model = level.roles["measured"], level.roles["model"]
    runtime = replace(level.frontier.runtime, dispensable=frozenset((measured, model)))
    inputs = {measured: measurement.id, model: level.model, **rivals}
    return replace(level.frontier, inputs=inputs, runtime=runtime)


def _with(node: Node, inputs: Mapping[str, str]) -> Node:
    return replace(node, inputs={**node.inputs, **inputs})


def _replace(made: dict[str, Node], changed: dict[str, Node]) -> None:
    """Put nodes in the place of others, and what takes their outputs on them."""
    for old, node in [*made.items()]:
        new = changed.get(old) or _with(
            node,
            {role: changed[s].id for role, s in node.inputs.items() if s in changed},
        )
        if new.id != old:
            changed[old] = new
            del made[old]
        made[new.id] = new


def _job(job: PlannedJob, changed: Mapping[str, Node], frontiers: Mapping[str, Node]) -> PlannedJob:
    ids: dict[str, str] = {}
    for stage, node in job.nodes.items():
        ids[stage] = changed[node].id if node in changed else node
        if node in frontiers:
            ids[frontiers[node].name] = frontiers[node].id
    return replace(job, nodes=ids)
