"""Jobs for which this machine has no room: memory and disk, by sizes that are known or predicted.

A repository that is not here yet is taken for as large as the shapes of its model say, two bytes a
weight; one whose shapes are not known is let through, and the run tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qpipe.core.executor import Executor
from qpipe.core.forecast import Forecast, forecast
from qpipe.core.graph import Graph, Node, PlannedJob
from qpipe.core.layout import RunPaths
from qpipe.core.store import ArtifactStore
from qpipe.errors import CheckpointError, OutOfMemoryError, OutOfSpaceError, QpipeError, RecipeError
from qpipe.executors.factory import make
from qpipe.machine.filesystem import free_bytes
from qpipe.report import numbers
from qpipe.session.context import Context
from qpipe.session.reproducing.jobs import TablePlan
from qpipe.session.reproducing.table_job import TableJob

_MODELS = ("download", "convert", "quantize")
_BYTES_PER_WEIGHT = 2


def without_room(planned: TablePlan, context: Context) -> dict[TableJob, QpipeError]:
    """The jobs that would run out of memory or, in the order of their rows, out of disk."""
    plan = planned.partial.plan
    forecasts = {item.node.id: item for item in forecast(plan.graph, ArtifactStore(context.store))}
    if all(item.state == "cached" for item in forecasts.values()):
        return {}
    sizes = _sizes(plan.graph, forecasts)
    executor = make(paths=RunPaths(context.runs), **planned.draft["executor"])
    errors: dict[TableJob, QpipeError] = {}
    disk = _Disk(context.store, forecasts, sizes)
    for job, place in planned.places.items():
        own = plan.jobs[place]
        error = _memory(own, plan.graph, forecasts, sizes, executor) or disk.take(own)
        if error is not None:
            errors[job] = error
    return errors


def _sizes(graph: Graph, forecasts: Mapping[str, Forecast]) -> dict[str, int | None]:
    """The bytes of what each node makes, as far as they are known or can be predicted."""
    sizes: dict[str, int | None] = {}
    shapes: dict[str, Mapping[str, object] | None] = {}
    for node in graph.values():
        own = [shapes[source] for source in node.inputs.values() if shapes.get(source)]
        shapes[node.id] = _shapes(node) if not node.inputs else own[0] if own else None
        artifact = forecasts[node.id].artifact
        sizes[node.id] = (
            artifact.manifest.size
            if artifact is not None
            else _predicted(node, shapes[node.id], sizes)
        )
    return sizes


def _shapes(node: Node) -> Mapping[str, object] | None:
    from qpipe.sizes import shapes

    repo = node.params.get("repo")
    return shapes(repo) if isinstance(repo, str) and node.params.get("kind") == "model" else None


def _predicted(
    node: Node, shapes: Mapping[str, object] | None, sizes: Mapping[str, int | None]
) -> int | None:
    from qpipe.sizes import predict

    local = node.runtime.where.get("bytes")
    if isinstance(local, int):
        return local
    if node.stage not in _MODELS:
        return 0
    if shapes is None:
        known = [sizes[source] for source in node.inputs.values()]
        return max((size for size in known if size is not None), default=None)
    wanted = node.params if node.stage == "quantize" else {"method": "none", "via": "f16"}
    try:
        size = predict(shapes, wanted)
    except (CheckpointError, RecipeError):  # a format of which none is predicted
        return None
    return size.weights * _BYTES_PER_WEIGHT if node.stage != "quantize" else size.file_bytes


def _memory(
    job: PlannedJob,
    graph: Graph,
    forecasts: Mapping[str, Forecast],
    sizes: Mapping[str, int | None],
    executor: Executor,
) -> OutOfMemoryError | None:
    """The error of a job of which a node needs more memory than may be used here."""
    for node in (graph[each] for each in job.nodes.values()):
        inputs = {role: sizes[source] for role, source in node.inputs.items()}
        known = {role: size for role, size in inputs.items() if size is not None}
        if forecasts[node.id].state == "cached" or known.keys() != inputs.keys() or not known:
            continue
        why = executor.check(node.runtime.resources.with_inputs(known))
        if why is not None:
            return OutOfMemoryError(f"{node.name}: {why}")
    return None


class _Disk:
    """The file system of a store, which jobs fill one after another."""

    def __init__(
        self, store: Path, forecasts: Mapping[str, Forecast], sizes: Mapping[str, int | None]
    ) -> None:
        self._free = free_bytes(store)
        self._sizes = {n: size or 0 for n, size in sizes.items() if forecasts[n].state != "cached"}
        self._local = {n for n, item in forecasts.items() if "path" in item.node.runtime.where}
        self._taken: set[str] = set()

    def take(self, job: PlannedJob) -> OutOfSpaceError | None:
        """Book what a job writes that is not booked yet; an error if there is no room for it."""
        new = {*job.nodes.values()} & self._sizes.keys() - self._taken - self._local
        needed = sum(self._sizes[node] for node in new)
        before = sum(self._sizes[node] for node in self._taken)
        if needed + before > self._free:
            free = f"{numbers.size(self._free)} that are free on the file system of the store"
            what = f"it writes about {numbers.size(needed)}, more than the {free}"
            if before:
                rows = f"rows before it take {numbers.size(before)}"
                what = f"{rows} of the {free}, and it has no room beside them"
            return OutOfSpaceError(
                f"{what}: make room (`qpipe gc`), name another disk with --store, or choose fewer "
                "rows with --rows"
            )
        self._taken |= new
        return None
