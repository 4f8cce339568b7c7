"""Drafts → one graph: sources pinned, jobs merged by node id, nodes named for people.

Levels of a sweep that may stop early are put in a chain: each is given those that are smaller,
measured before it. Smaller by what their parameters say a weight takes (`Stage.bits`): that is
known before anything runs and is the same on every machine. The true sizes are compared when a
level is measured, so an order that turns out wrong costs time alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from qpipe.core.graph import Graph, Node, Plan, PlannedJob, Resources, Runtime, order
from qpipe.core.key import Json
from qpipe.recipe.draft import ChainRoles, JobDraft, RunDraft, StageDraft
from qpipe.recipe.model_names import SourceName
from qpipe.recipe.node_names import JobWords, Names
from qpipe.sources.model_class import ModelClass
from qpipe.sources.pinning import PinnedSource, Pinner

MMPROJ = "mmproj"
"""The kind of stage that makes a file of a model's towers for images and sound."""


def plan(
    draft: RunDraft, pinner: Pinner, notify: Callable[[str], None] = lambda note: None
) -> Plan:
    """Pin the sources and build the merged graph; ``notify`` is told what the models' classes
    decide. Raises SourceError for a missing source."""
    builder = _Builder(pinner)
    jobs = [builder.job(job) for job in draft["jobs"]]
    for note in builder.notes:
        notify(note)
    nodes, jobs = chain_levels(builder.nodes, jobs, builder.levels)
    graph = Graph(nodes)
    words = [
        JobWords(job["varying"], job["called"], sources)
        for job, sources in zip(draft["jobs"], builder.sources, strict=True)
    ]
    names = Names(graph, jobs, words)
    labelled = [replace(job, label=own) for job, own in zip(jobs, names.labels, strict=True)]
    return Plan(graph.renamed(names.nodes, names.models), labelled)


@dataclass(frozen=True)
class ChainedMeasurement:
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


class _Builder:
    """Builds each distinct node once, however many jobs have it."""

    def __init__(self, pinner: Pinner) -> None:
        self.pinner = pinner
        self.nodes: dict[str, Node] = {}
        self.levels: list[ChainedMeasurement] = []
        self.sources: list[dict[str, SourceName]] = []
        """The sources of each job, by node id."""
        self.notes: dict[str, None] = {}
        """What is to be said of choices that the models made."""
        self._pinned: dict[str, PinnedSource] = {}
        self._classes: dict[str, ModelClass | None] = {}
        self._nodes_by_draft: dict[str, Node] = {}
        self._pins: dict[str, tuple[Mapping[str, Json], Mapping[str, Json]]] = {}

    def job(self, job: JobDraft) -> PlannedJob:
        ids: dict[str, str] = {}
        sources = {stage["name"] for stage in job["stages"] if stage["source"]}
        names: dict[str, SourceName] = {}
        for stage in job["stages"]:
            inputs = {role: ids[name] for role, name in stage["needs"].items()}
            node = self._node(
                stage, inputs, frozenset(r for r, n in stage["needs"].items() if n in sources)
            )
            self.nodes[node.id] = node
            ids[stage["name"]] = node.id
            if stage["source"]:
                names[node.id] = _source_name(node)
                self._pinned[node.id] = PinnedSource(node.params, node.runtime.where)
        self.sources.append(names)
        self._note_towers(job, ids)
        for name, level in job["levels"].items():
            frontier = self._node(level["frontier"], {}, frozenset())
            self.levels.append(
                ChainedMeasurement(level["bits"], self.nodes[ids[name]], frontier, level["roles"])
            )
        reference = ids[job["reference"]] if job["reference"] is not None else None
        return PlannedJob("", job["overrides"], ids, reference)

    def _note_towers(self, job: JobDraft, ids: Mapping[str, str]) -> None:
        """Say of models that see or hear that what is made of them does not, unless their towers
        become a file of their own."""
        kept = {
            ids[name]
            for stage in job["stages"]
            if stage["stage"] == MMPROJ
            for name in stage["needs"].values()
        }
        for stage in job["stages"]:
            role = stage["text_alone"]
            source = None if role is None else ids[stage["needs"][role]]
            found = None if source is None or source in kept else self._class(source)
            if found is not None and found.towers:
                self.notes.setdefault(
                    f"{found.name}: its towers for {' and '.join(found.towers)} are left out of "
                    "what is made of it; model.mmproj=true makes them a file of their own"
                )

    def _node(self, stage: StageDraft, inputs: dict[str, str], sources: frozenset[str]) -> Node:
        """A stage as a node; ``sources`` are the roles that a source fills as it is."""
        same = json.dumps([stage, inputs], sort_keys=True)
        if same not in self._nodes_by_draft:
            suited = self._suited(stage, inputs)
            self._nodes_by_draft[same] = self._build(suited, inputs, sources)
        return self._nodes_by_draft[same]

    def _suited(self, stage: StageDraft, inputs: dict[str, str]) -> StageDraft:
        """The stage itself, or the one in its place, by the class of its model."""
        other = stage["stand_in"]
        found = None if other is None else self._class(inputs[other["role"]])
        if other is None or found is None:
            return stage
        if found.name not in other["known"]:
            why = f"takes {found.name}, which qpipe does not know itself"
        elif found.method in other["methods"]:
            why = f"takes what is quantized by {found.method}, which qpipe does not dequantize"
        else:
            return stage
        self.notes.setdefault(f"model.converter=auto: llama.cpp's converter {why}")
        return other["stage"]

    def _class(self, node_id: str) -> ModelClass | None:
        """The class of the model that a node fetches; None for any other node."""
        if node_id not in self._classes:
            source = self._pinned.get(node_id)
            self._classes[node_id] = None if source is None else self.pinner.model_class(source)
        return self._classes[node_id]

    def _build(self, stage: StageDraft, inputs: dict[str, str], sources: frozenset[str]) -> Node:
        params: Mapping[str, Json] = stage["params"]
        where: Mapping[str, Json] = {}
        if stage["source"]:
            params, where = self._pin(stage["params"])
        return Node(
            name=stage["name"],
            stage=stage["stage"],
            version=stage["version"],
            params=params,
            engine=stage["engine"],
            inputs=inputs,
            runtime=Runtime(
                entry=stage["entry"],
                resources=Resources(**stage["resources"]),
                python=stage["python"],
                timeout=stage["timeout"],
                where=where,
                reads_once=stage["reads_once"],
                unread=stage["unread"],
                nameless=sources,
                asides=stage["asides"],
            ),
        )

    def _pin(self, params: Mapping[str, Json]) -> tuple[Mapping[str, Json], Mapping[str, Json]]:
        same = json.dumps(params, sort_keys=True)
        if same not in self._pins:
            revision = params["revision"]
            pinned = self.pinner.pin(
                str(params["source"]), None if revision is None else str(revision)
            )
            self._pins[same] = (pinned.params, pinned.where)
        return self._pins[same]


def _source_name(node: Node) -> SourceName:
    where, params = node.runtime.where, node.params
    place = where.get("path") or "/".join(
        str(params[part]) for part in ("repo", "file") if params.get(part)
    )
    return SourceName(
        str(where.get("name") or place), str(place), str(params.get("commit") or "")[:8]
    )


def chain_levels(
    nodes: Mapping[str, Node], jobs: Sequence[PlannedJob], levels: Sequence[ChainedMeasurement]
) -> tuple[list[Node], list[PlannedJob]]:
    """The nodes and jobs of a plan, with levels that are measured alike in a chain by size."""
    if not levels:
        return [*nodes.values()], [*jobs]
    rewired = dict(nodes)
    changed: dict[str, Node] = {}
    frontiers: dict[str, Node] = {}
    for alike in _alike(levels):
        rivals: dict[str, str] = {}
        for level in alike:
            node = changed[level.measurement.id] = _with(level.measurement, rivals)
            if level is not alike[-1]:
                frontier = frontiers[level.measurement.id] = _frontier(level, node, rivals)
                rivals = {level.roles["rivals"]: frontier.id}
    _replace(rewired, changed)
    rewired |= {node.id: node for node in frontiers.values()}
    ids = order({node.id: node.inputs.values() for node in rewired.values()})
    return [rewired[node] for node in ids], [_rewired(job, changed, frontiers) for job in jobs]


def _alike(levels: Iterable[ChainedMeasurement]) -> list[list[ChainedMeasurement]]:
    """Levels that differ by their model alone, smallest first, each model once."""
    groups: dict[str, dict[str, ChainedMeasurement]] = {}
    for level in levels:
        node = level.measurement
        model = level.roles["model"]
        others = {role: node_id for role, node_id in node.inputs.items() if role != model}
        same = json.dumps(
            [node.stage, node.version, node.params, node.engine, others], sort_keys=True
        )
        groups.setdefault(same, {}).setdefault(level.model, level)
    return [
        sorted(alike.values(), key=lambda level: (level.bits, level.measurement.id))
        for alike in groups.values()
    ]


def _frontier(level: ChainedMeasurement, measurement: Node, rivals: Mapping[str, str]) -> Node:
    """One that hands on its ``rivals``, if its own level cannot be made or measured."""
    measured, model = level.roles["measured"], level.roles["model"]
    runtime = replace(level.frontier.runtime, dispensable=frozenset((measured, model)))
    inputs = {measured: measurement.id, model: level.model, **rivals}
    return replace(level.frontier, inputs=inputs, runtime=runtime)


def _with(node: Node, inputs: Mapping[str, str]) -> Node:
    return replace(node, inputs={**node.inputs, **inputs})


def _replace(nodes: dict[str, Node], changed: dict[str, Node]) -> None:
    """Put nodes in the place of others, and what takes their outputs on them."""
    for old, node in [*nodes.items()]:
        new = changed.get(old) or _with(
            node,
            {role: changed[s].id for role, s in node.inputs.items() if s in changed},
        )
        if new.id != old:
            changed[old] = new
            del nodes[old]
        nodes[new.id] = new


def _rewired(
    job: PlannedJob, changed: Mapping[str, Node], frontiers: Mapping[str, Node]
) -> PlannedJob:
    ids: dict[str, str] = {}
    for stage, node in job.nodes.items():
        ids[stage] = changed[node].id if node in changed else node
        if node in frontiers:
            ids[frontiers[node].name] = frontiers[node].id
    return replace(job, nodes=ids)
