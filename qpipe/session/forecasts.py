"""What a run would do, node by node, and why what is not cached is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from qpipe.core.forecast import FieldDifference, Forecast, forecast, nearest_cached
from qpipe.core.graph import Graph
from qpipe.core.key import Json
from qpipe.core.manifest import Manifest
from qpipe.core.store import ArtifactStore
from qpipe.errors import QpipeError
from qpipe.results.preview import Preview
from qpipe.results.same_tensors import groups, note, signature
from qpipe.session.again import named_nodes
from qpipe.session.context import Context
from qpipe.session.costs import RunCost, cost
from qpipe.session.estimates import estimates
from qpipe.session.outlook import Outlook, outlook
from qpipe.session.planned import LeftOut, PlannedNode
from qpipe.session.plans import MergedPlan, merged_plan
from qpipe.session.totals import Totals, totals, written

if TYPE_CHECKING:
    from qpipe.session.guided.outlook import GuidedOutlook

MADE = "quantize"
"""The name of the stage whose models a run is about."""


@dataclass(frozen=True)
class RunPlan:
    """The plan of a run: its nodes in the order of the graph, the sums over them, ``seconds`` that
    nodes would take by their names, by what such nodes in the store took, the jobs that it leaves
    out, what a user should know of the recipe (``notes``), the names of nodes whose
    files have the same tensors, byte for byte (``same_tensors``), and its ``cost``."""

    nodes: Sequence[PlannedNode]
    totals: Totals
    seconds: Mapping[str, float] = field(default_factory=dict)
    left_out: Sequence[LeftOut] = ()
    notes: Sequence[str] = ()
    same_tensors: Sequence[Sequence[str]] = ()
    guided: GuidedOutlook | None = None
    """What a guided sweep would do; None of others."""
    cost: RunCost = field(default=RunCost())

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of nodes that are ``cached``, would ``run`` or are ``unknown``."""
        states = [node.state for node in self.nodes]
        return {state: states.count(state) for state in ("cached", "run", "unknown")}

    @property
    def remarks(self) -> list[str]:
        """Return a sentence on each group of files with the same tensors."""
        return [note(names) for names in self.same_tensors]

    @property
    def errors(self) -> list[QpipeError]:
        """Return the errors that nodes would fail with, in the order of the graph, and that of a
        disk that is too small."""
        errors: list[QpipeError] = [node.error for node in self.nodes if node.error is not None]
        return errors + ([] if self.totals.problem is None else [self.totals.problem])


@dataclass(frozen=True)
class Explanation:
    """A node that is not cached, and what differs from the artifact that comes nearest.

    ``nearest`` is None where the store has no artifact of this stage.
    """

    node: PlannedNode
    nearest: Manifest | None
    differences: Sequence[FieldDifference]


def run_plan(context: Context) -> RunPlan:
    """Forecast a request: hits, misses and why, previews and refusals. Nothing runs.

    Raises RecipeError, UsageError for a stage to be made again that is not there, and SourceError
    for a source that is not.
    """
    plan = merged_plan(context)
    again = named_nodes(context.again, plan.jobs, plan.graph)
    results_only = all(draft["results_only"] for draft in plan.drafts)
    forecasts = forecast(
        plan.graph,
        ArtifactStore(context.store),
        again=again,
        results_only=results_only,
    )
    asked = outlook(context, forecasts, plan.drafts[0]["executor"])
    coming = {**asked, **_by_known_shapes(plan.graph, forecasts, asked)}
    nodes = _with_purposes([planned(item, coming) for item in forecasts], plan)
    sizes = known_sizes(forecasts, nodes)
    ended = {node.id for node in nodes if node.state == "cached" or node.error is not None}
    expected = estimates(plan.graph, ended=ended, sizes=sizes, store=str(context.store))
    whole = cost(
        plan.graph,
        [[*job.nodes.values()] for job in plan.jobs],
        made={node.id for node in nodes} - ended,
        estimates=expected,
        sizes=sizes,
        written=written(nodes, context.store),
    )
    names = {node.id: node.name for node in nodes}
    return RunPlan(
        nodes,
        totals(nodes, context.store, results_only=results_only, at_once=whole.at_once),
        {names[n]: e.seconds for n, e in expected.items() if e.seconds is not None},
        [LeftOut(job["name"], job["error"]) for job in plan.invalid],
        same_tensors=groups(_signatures(forecasts, coming)),
        guided=_guided(plan, forecasts),
        cost=whole,
    )


def _guided(plan: MergedPlan, forecasts: Sequence[Forecast]) -> GuidedOutlook | None:
    guide = plan.drafts[0]["guide"]
    if guide is None:
        return None
    from qpipe.session.guided.outlook import foreseen

    return foreseen(guide, plan.graph, plan.jobs, forecasts)


def _with_purposes(nodes: Sequence[PlannedNode], plan: MergedPlan) -> list[PlannedNode]:
    """The nodes, and of a file that is converted to measure the reference alone that this is so:
    nothing is quantized from it, and `run.reference=null` does without it."""
    references = {job.reference for job in plan.jobs} - {job.nodes.get(MADE) for job in plan.jobs}
    return [
        replace(node, purpose="for the reference alone")
        if node.id in references and _is_apart(plan.graph, node.id)
        else node
        for node in nodes
    ]


def _is_apart(graph: Graph, node: str) -> bool:
    """True if a node converts a checkpoint into a file of which nothing is quantized."""
    users = [graph[user].stage for user in graph.downstream(node)]
    return graph[node].params.get("to") == "gguf" and MADE not in users


def _by_known_shapes(
    graph: Graph, forecasts: Sequence[Forecast], asked: Outlook
) -> Mapping[str, Preview]:
    """About what is made of repositories of which nothing could be had."""
    new = [item.node for item in forecasts if item.state != "cached" and item.node.id not in asked]
    if all(node.inputs or node.params.get("kind") != "model" for node in new):
        return {}
    from qpipe.session import known_shapes  # takes longer to import than most plans

    return known_shapes.previews(graph, forecasts, asked)


def known_sizes(forecasts: Sequence[Forecast], nodes: Sequence[PlannedNode]) -> dict[str, int]:
    """The bytes of what nodes make or made, by id, as far as they are known."""
    local = {item.node.id: item.node.runtime.where.get("bytes") for item in forecasts}
    sizes = {node.id: size for node in nodes if (size := node.size) is not None}
    return sizes | {node: size for node, size in local.items() if isinstance(size, int)}


def _signatures(forecasts: Sequence[Forecast], coming: Outlook) -> Iterator[tuple[str, str | None]]:
    for item in forecasts:
        node, outlook = item.node, coming.get(item.node.id)
        facts: Mapping[str, Json] = item.artifact.manifest.facts if item.artifact else {}
        if outlook is not None:
            facts = {} if isinstance(outlook, QpipeError) else outlook.facts
        yield node.name, signature(node.params, node.engine, node.inputs, facts)


def explanations(context: Context) -> tuple[int, list[Explanation]]:
    """Return the number of a request's nodes, and an explanation of each that is not cached.

    Raises as `run_plan` does.
    """
    store = ArtifactStore(context.store)
    forecasts = forecast(merged_plan(context).graph, store)
    manifests = {f.node.id: f.artifact.manifest for f in forecasts if f.artifact}
    uncached = [item for item in forecasts if item.state != "cached"]
    return len(forecasts), [_explained(item, manifests, store) for item in uncached]


def _explained(
    item: Forecast, manifests: Mapping[str, Manifest], store: ArtifactStore
) -> Explanation:
    inputs = {role: manifests[s] for role, s in item.node.inputs.items() if s in manifests}
    manifest, differences = nearest_cached(item.node, item.node.digests(inputs), store) or (
        None,
        [],
    )
    return Explanation(planned(item, {}), manifest, differences)


def planned(item: Forecast, coming: Outlook) -> PlannedNode:
    """Return what is foreseen of a node, and what the stages say of it (``coming``)."""
    outlook = coming.get(item.node.id)
    error = outlook if isinstance(outlook, QpipeError) else None
    preview = outlook if isinstance(outlook, Preview) else None
    manifest = item.artifact.manifest if item.artifact else None
    there = item.artifact if item.artifact and item.artifact.path.is_dir() else None
    return PlannedNode(
        name=item.node.name,
        stage=item.node.stage,
        id=item.node.id,
        state=item.state,
        why=item.why,
        key=item.key,
        artifact=there.path if there else None,
        preview=preview,
        error=error,
        made_before=item.made_before,
        facts=preview.facts if preview else manifest.facts if manifest else {},
        artifact_bytes=there.manifest.size if there else None,
        source_kind=_source_kind(item.node.params.get("kind")),
    )


def _source_kind(kind: Json) -> str | None:
    return str(kind) if kind in ("local", "model", "dataset", "remote") else None
