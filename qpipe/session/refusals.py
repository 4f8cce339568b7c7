"""What would fail by the inputs that are at hand already: asked before a run starts anything."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from qpipe.core.forecast import forecast
from qpipe.core.graph import Graph, Node
from qpipe.core.store import Store
from qpipe.errors import QpipeError
from qpipe.session.inputs import AvailableInputs
from qpipe.session.requirements import stage_of


def refusals(graph: Graph, store: Store) -> dict[str, QpipeError]:
    """Map the ids of nodes that are not in the store to the errors of those that would fail
    (`Stage.refuse`)."""
    if not any(refuses(node) for node in graph.values()):
        return {}
    errors: dict[str, QpipeError] = {}
    forecasts = forecast(graph, store)
    with TemporaryDirectory(prefix="qpipe-run-") as temporary:
        inputs = AvailableInputs(forecasts, Path(temporary))
        for item in forecasts:
            if item.state == "cached" or not refuses(item.node):
                continue
            try:
                with inputs.in_users_words(item):
                    order = inputs.ahead(item)
                    stage_of(item.node.runtime.entry).refuse(inputs.params(item.node), order)
            except QpipeError as error:
                errors[item.node.id] = error
    return errors


def refuses(node: Node) -> bool:
    """Return whether a node's stage can refuse its inputs beforehand."""
    from qpipe.stages.base import Stage

    own: object = stage_of(node.runtime.entry).refuse
    return getattr(own, "__func__", own) is not Stage.refuse.__func__  # type: ignore[attr-defined]
