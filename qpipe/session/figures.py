"""What is foreseen of the nodes of a run before any is made, to stand beside what they come to."""

from __future__ import annotations

from collections.abc import Sequence

from qpipe.core.forecast import Forecast
from qpipe.core.graph import Graph
from qpipe.core.store import ArtifactStore
from qpipe.errors import StoreError
from qpipe.results.figures import NodeFigures
from qpipe.session.estimates import NodeEstimate, estimates
from qpipe.session.forecasts import known_sizes, planned
from qpipe.session.outlook import Outlook


def expected(
    graph: Graph, forecasts: Sequence[Forecast], coming: Outlook, store: ArtifactStore
) -> dict[str, NodeFigures]:
    """Return the figures of nodes that are to be made, by id, the same as `qpipe plan` has: sizes
    by what the stages say (``coming``), seconds and memory by such nodes in the store."""
    nodes = [planned(item, coming) for item in forecasts]
    sizes = known_sizes(forecasts, nodes)
    ended = {node.id for node in nodes if node.state == "cached" or node.error is not None}
    try:
        took = estimates(graph, ended=ended, sizes=sizes, store=str(store.paths.root))
    except StoreError:  # it says so where it is needed
        took = {}
    answers: dict[str, NodeFigures] = {}
    for node in nodes:
        if node.id not in ended:
            seconds, memory = took.get(node.id, NodeEstimate())
            answers[node.id] = NodeFigures(node.size, seconds, memory)
    return answers
