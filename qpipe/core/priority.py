"""Which of the nodes that could start do so first: depth first, in the order of the jobs.

So one model's first level is measured before the next model's files are fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qpipe.core.graph import Graph

Priority = tuple[int, int, int]
"""Index of the first job that needs a node, minus its depth, its position in the graph; what is
smaller goes first."""


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
    return {node: (first_jobs[node], -depths[node], n) for n, node in enumerate(graph)}
