"""Sizes of models before they are made, and what the store has already."""

from __future__ import annotations

from collections.abc import Collection

from qpipe.core.forecast import forecast
from qpipe.core.graph import Plan
from qpipe.core.store import ArtifactStore


def exact_sizes(plan: Plan, store: ArtifactStore) -> dict[str, int]:
    """The bytes of nodes by id, of those of which headers tell exactly, or that are there."""
    from qpipe.session.forecasts import planned
    from qpipe.session.inputs import available
    from qpipe.session.previews import previews

    forecasts = forecast(plan.graph, store)
    with available(forecasts) as inputs:
        coming = previews(forecasts, inputs)
    nodes = [planned(item, coming) for item in forecasts]
    sizes = {node.id: node.facts.get("size_bytes") for node in nodes if node.precision == "exact"}
    return {node: size for node, size in sizes.items() if isinstance(size, int)}


def in_store(plan: Plan, store: ArtifactStore, *, again: Collection[str] = ()) -> set[str]:
    """The ids of nodes that are there, without those that are to be made ``again``."""
    forecasts = forecast(plan.graph, store, again=again)
    return {item.node.id for item in forecasts if item.state == "cached"}
