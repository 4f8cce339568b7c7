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
from pathlib import Path

from qpipe.core.graph import Graph, Node, Plan, PlannedJob, Resources, Runtime, order
from qpipe.core.key import Json
from qpipe.errors import RecipeError, SourceError
from qpipe.recipe.draft import ChainRoles, JobDraft, RunDraft, StageDraft
from qpipe.recipe.model_names import SourceName
from qpipe.recipe.node_names import JobWords, Names
from qpipe.recipe.originals import DOWNLOAD, require_original
from qpipe.sources import no_model, pickle_names
from qpipe.sources.model_class import ModelClass
from qpipe.sources.pinning import PinnedSource, Pinner

# transformers 5.17 computes these as if they were not quantized; their numbers are read by qpipe.
_DEQUANTIZED = ("modelopt",)
# The roles that models fill.
_MODELS = ("checkpoint", "model")
MMPROJ = "mmproj"
"""The kind of stage that makes a file of a model's towers for images and sound."""


def plan(
    draft: RunDraft, pinner: Pinner, notify: Callable[[str], None] = lambda note: None
) -> Plan:
    """Pin the sources and build the merged graph; ``notify`` is told what the models' classes
    decide. Raises SourceError for a missing source."""
    builder = _Builder()
    for job in draft["jobs"]:
        builder.add(job, pinner)
    return builder.plan(notify)


@dataclass(frozen=True)
class PartialPlan:
    """A plan of the jobs whose sources are there, and the error of each other, by its place.

    ``places`` are those of the plan's jobs among all.
    """

    plan: Plan
    places: Sequence[int]
    errors: Mapping[int, SourceError]


def plan_each(
    jobs: Sequence[tuple[JobDraft, Pinner]], notify: Callable[[str], None] = lambda note: None
) -> PartialPlan:
    """Do as `plan` for jobs of several recipes, each with the pinner of its own. A job whose
    source is missing is left out."""
    builder = _Builder()
    errors: dict[int, SourceError] = {}
    for place, (job, pinner) in enumerate(jobs):
        try:
            builder.add(job, pinner)
        except SourceError as error:
            errors[place] = error
    places = [place for place in range(len(jobs)) if place not in errors]
    return PartialPlan(builder.plan(notify), places, errors)


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

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.jobs: list[PlannedJob] = []
        self.words: list[JobWords] = []
        self.levels: list[ChainedMeasurement] = []
        self.notes: dict[str, None] = {}
        """What is to be said of choices that the models made."""
        self._pinned: dict[str, tuple[PinnedSource, Pinner]] = {}
        self._classes: dict[str, ModelClass | None] = {}
        self._nodes_by_draft: dict[tuple[str, int], Node] = {}
        self._pins: dict[tuple[str, int], PinnedSource | SourceError] = {}

    def plan(self, notify: Callable[[str], None]) -> Plan:
        """The merged graph of the jobs, its nodes named."""
        for note in self.notes:
            notify(note)
        nodes, jobs = chain_levels(self.nodes, self.jobs, self.levels)
        graph = Graph(nodes)
        names = Names(graph, jobs, self.words)
        labelled = [replace(job, label=own) for job, own in zip(jobs, names.labels, strict=True)]
        return Plan(graph.renamed(names.nodes, names.models), labelled)

    def add(self, job: JobDraft, pinner: Pinner) -> None:
        """Add a job, whole or not at all. Raises SourceError for a source that is missing, and
        RecipeError for one that its settings do not fit."""
        job = self._of_model(job, pinner)
        nodes: dict[str, Node] = {}
        ids: dict[str, str] = {}
        made: dict[str, str] = {}
        """By stage the node that others are given: of pickles what is made of them."""
        sources = {stage["name"] for stage in job["stages"] if stage["source"]}
        models = _model_sources(job)
        names: dict[str, SourceName] = {}
        for stage in job["stages"]:
            if stage["name"] in models:
                pinner.require_model(str(stage["params"]["source"]))
            inputs = {role: made[name] for role, name in stage["needs"].items()}
            direct = frozenset(r for r, n in stage["needs"].items() if n in sources)
            node = self._node(stage, inputs, direct, pinner)
            nodes[node.id] = node
            ids[stage["name"]] = made[stage["name"]] = node.id
            if stage["name"] in models:
                no_model.require_fetched(node.params, node.runtime.where)
                claim = pinner.claim(PinnedSource(node.params, node.runtime.where))
                self.notes |= dict.fromkeys(claim)
            if stage["source"]:
                names[node.id] = _source_name(node)
                pinned = PinnedSource(node.params, node.runtime.where)
                self._pinned.setdefault(node.id, (pinned, pinner))
                other = stage["unpickle"]
                if other is not None and pickle_names.is_source(pinned.params, pinned.where):
                    plain = self._node(other, {"checkpoint": node.id}, frozenset(), pinner)
                    nodes[plain.id] = plain
                    ids[f"{stage['name']}_{other['name']}"] = made[stage["name"]] = plain.id
                    self._pinned.setdefault(plain.id, (pinned, pinner))
        self.nodes |= nodes
        self.words.append(JobWords(job["varying"], job["called"], names))
        self._note_towers(job, ids)
        for name, level in job["levels"].items():
            frontier = self._node(level["frontier"], {}, frozenset(), pinner)
            self.levels.append(
                ChainedMeasurement(level["bits"], self.nodes[ids[name]], frontier, level["roles"])
            )
        reference = ids[job["reference"]] if job["reference"] is not None else None
        self.jobs.append(PlannedJob("", job["overrides"], ids, reference))

    def _of_model(self, job: JobDraft, pinner: Pinner) -> JobDraft:
        """The job itself, or the one for a model that is quantized already. Raises RecipeError
        where the settings fit other models alone."""
        other = job["packed"]
        if other is None:
            return job
        source = next(stage for stage in job["stages"] if stage["name"] == other["source"])
        node = self._node(source, {}, frozenset(), pinner)
        pinned = PinnedSource(node.params, node.runtime.where)
        self._pinned.setdefault(node.id, (pinned, pinner))
        found = self._class(node.id)
        if found is None or found.method in (None, *_DEQUANTIZED):
            if other["otherwise"] is not None:
                raise RecipeError(other["otherwise"])
            return job
        note = (
            f"quantize=none: {_source_name(node).name} is quantized already ({found.method}) and "
            "measured as it is; quantize.via=f16 makes a GGUF file of what its numbers stand for"
        )
        if isinstance(other["job"], str):
            raise RecipeError(f"{other['job']} ({note})")
        self.notes.setdefault(note)
        return other["job"]

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

    def _node(
        self, stage: StageDraft, inputs: dict[str, str], sources: frozenset[str], pinner: Pinner
    ) -> Node:
        """A stage as a node; ``sources`` are the roles that a source fills as it is."""
        own = id(pinner) if stage["source"] else 0
        same = json.dumps([stage, inputs], sort_keys=True), own
        if same not in self._nodes_by_draft:
            suited = self._suited(stage, inputs)
            self._nodes_by_draft[same] = self._build(suited, inputs, sources, pinner)
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
            fetched = self._pinned.get(node_id)
            self._classes[node_id] = None if fetched is None else fetched[1].model_class(fetched[0])
        return self._classes[node_id]

    def _build(
        self, stage: StageDraft, inputs: dict[str, str], sources: frozenset[str], pinner: Pinner
    ) -> Node:
        params: Mapping[str, Json] = stage["params"]
        where: Mapping[str, Json] = {}
        if stage["source"]:
            look = require_original if stage["name"] == DOWNLOAD else None
            pinned = self._pin(stage["params"], pinner, look)
            params, where = pinned.params, pinned.where
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
                imports=tuple(stage["imports"]),
            ),
        )

    def _pin(
        self, params: Mapping[str, Json], pinner: Pinner, look: Callable[[Path], None] | None
    ) -> PinnedSource:
        """Pin a source once, and once alone find that it is missing. Raises SourceError."""
        same = json.dumps([params, look is None], sort_keys=True), id(pinner)
        if same not in self._pins:
            revision = params["revision"]
            try:
                self._pins[same] = pinner.pin(
                    str(params["source"]),
                    None if revision is None else str(revision),
                    _digests(params.get("sha256")),
                    allow_pickle=params.get("allow_pickle") is True,
                    look=look,
                )
            except SourceError as error:
                self._pins[same] = error
        pinned = self._pins[same]
        if isinstance(pinned, SourceError):
            raise pinned
        return pinned


def _model_sources(job: JobDraft) -> set[str]:
    """The stages that bring models as they are; `require_original` looks at ``run.reference``."""
    sources = {stage["name"] for stage in job["stages"] if stage["source"]} - {DOWNLOAD}
    needs = [stage["needs"] for stage in job["stages"]]
    return {each[role] for each in needs for role in _MODELS if each.get(role) in sources}


def _digests(setting: Json) -> str | list[str] | None:
    if isinstance(setting, list):
        return [*map(str, setting)]
    return None if setting is None else str(setting)


def _source_name(node: Node) -> SourceName:
    where, params = node.runtime.where, node.params
    place = (
        where.get("path")
        or where.get("address")
        or "/".join(str(params[part]) for part in ("repo", "file") if params.get(part))
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
