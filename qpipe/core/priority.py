"""Which of the nodes that could start do so first: one model after the other, depth first, in the
order of the jobs.

So one model's first level is measured before the next model's files are fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from qpipe.core.graph import Graph


class Priority(NamedTuple):
    """The place of a node in the order of starting; what is smaller goes first.

    ``era`` is the index of the first job that needs a source of the node, of several sources the
    last such: nodes that lead from one model's files have one. ``job`` is the index of the first
    job that needs the node itself; ``height`` is minus its depth, ``position`` that in the graph.
    """

    era: int
    job: int
    height: int
    position: int


def priorities(graph: Graph, jobs: Sequence[Iterable[str]]) -> dict[str, Priority]:
    """Map ids to priorities; ``jobs`` are the ids of each job's nodes, in the order of a plan.

    A node that is in no job counts as one of those that need it.
    """
    first_jobs = dict.fromkeys(graph, len(jobs))
    for index, nodes in reversed(list(enumerate(jobs))):
        first_jobs.update(dict.fromkeys(nodes, index))
    depths: dict[str, int] = {}
    for node in graph.values():
        depths[node.id] = 1 + max((depths[each] for each in node.inputs.values()), default=0)
    for node in reversed(list(graph.values())):
        for each in node.inputs.values():
            first_jobs[each] = min(first_jobs[each], first_jobs[node.id])
    eras: dict[str, int] = {}
    for node in graph.values():
        inputs = node.inputs.values()
        eras[node.id] = max((eras[each] for each in inputs), default=first_jobs[node.id])
    return {
        node: Priority(eras[node], first_jobs[node], -depths[node], position)
        for position, node in enumerate(graph)
    }
