"""What running the jobs behind published values would take, without running or asking for files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from qpipe.core.forecast import Forecast, forecast
from qpipe.core.graph import Graph
from qpipe.core.key import Json
from qpipe.core.layout import RunPaths
from qpipe.core.store import ArtifactStore
from qpipe.errors import QpipeError
from qpipe.executors.factory import make
from qpipe.session.context import Context
from qpipe.session.inputs import available
from qpipe.session.refusals import missing, refusals
from qpipe.session.reproducing.jobs import TablePlan
from qpipe.session.reproducing.table_job import TableJob
from qpipe.sources.hub_source import hub_source

if TYPE_CHECKING:
    from qpipe.sources.hub import ComingFiles


def outlooks(planned: TablePlan, context: Context) -> dict[TableJob, QpipeError | str]:
    """Foresee each job: the error that it would fail with, or what it would take in words. The hub
    is not asked for files."""
    found: dict[TableJob, QpipeError | str] = {**planned.errors}
    if not planned.places:
        return found
    plan = planned.partial.plan
    forecasts = forecast(plan.graph, ArtifactStore(context.store))
    executor = make(paths=RunPaths(context.runs), **planned.draft["executor"])
    errors: dict[str, QpipeError] = {}
    with available(forecasts, _cached) as inputs:
        errors |= refusals(forecasts, inputs)
    errors |= missing(forecasts, executor)
    by_id = {item.node.id: item for item in forecasts}
    for job, place in planned.places.items():
        nodes = _needed(plan.graph, plan.jobs[place].nodes.values())
        error = next((errors[node] for node in nodes if node in errors), None)
        found[job] = error or _words([by_id[node] for node in nodes])
    return found


def _needed(graph: Graph, nodes: Iterable[str]) -> list[str]:
    """The nodes of a job and their inputs, in graph order."""
    own = {*nodes}
    for node in reversed([*graph.values()]):
        if node.id in own:
            own |= {*node.inputs.values()}
    return [node for node in graph if node in own]


def _words(items: Sequence[Forecast]) -> str:
    """Say how much of a job is in the store, and what it would fetch."""
    cached = sum(item.state == "cached" for item in items)
    if cached == len(items):
        return f"all of its {cached} nodes are in the store"
    fetched = [
        source.repo
        for item in items
        if item.state != "cached" and (source := hub_source(item.node.params)) is not None
    ]
    words = f"{cached} of its {len(items)} nodes are in the store"
    return f"{words}; downloads {', '.join(dict.fromkeys(fetched))}" if fetched else words


def _cached(params: Mapping[str, Json]) -> ComingFiles | None:
    """Say what the hub's cache knows of a repository."""
    from qpipe.sources import hub

    source = hub_source(params)
    config = None if source is None or source.file is not None else hub.cached_config(source)
    return None if config is None else hub.ComingFiles(config, None, None)
