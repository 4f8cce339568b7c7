"""Drafts → one graph: sources pinned, jobs merged by node id, nodes named for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from qpipe.core.graph import Graph, Node, Resources, Runtime
from qpipe.core.key import Json
from qpipe.core.plan import Plan, PlannedJob
from qpipe.recipe import levels
from qpipe.recipe.draft import JobDraft, RunDraft, StageDraft
from qpipe.recipe.levels import Level
from qpipe.sources.pinning import Pinner


def plan(draft: RunDraft, pinner: Pinner) -> Plan:
    """Pin the sources and build the merged graph. Raises SourceError for a missing source."""
    builder = _Builder(pinner)
    jobs = [builder.job(job) for job in draft["jobs"]]
    nodes, jobs = levels.wired(builder.nodes, jobs, builder.levels)
    return Plan(Graph(nodes).renamed(_names(jobs)), jobs)


class _Builder:
    """Builds each distinct node once, however many jobs have it."""

    def __init__(self, pinner: Pinner) -> None:
        self.pinner = pinner
        self.nodes: dict[str, Node] = {}
        self.levels: list[Level] = []
        self._built: dict[str, Node] = {}
        self._pins: dict[str, tuple[Mapping[str, Json], Mapping[str, Json]]] = {}

    def job(self, job: JobDraft) -> PlannedJob:
        ids: dict[str, str] = {}
        sources = {stage["name"] for stage in job["stages"] if stage["source"]}
        for stage in job["stages"]:
            inputs = {role: ids[name] for role, name in stage["needs"].items()}
            node = self._node(
                stage, inputs, frozenset(r for r, n in stage["needs"].items() if n in sources)
            )
            self.nodes[node.id] = node
            ids[stage["name"]] = node.id
        for name, level in job["levels"].items():
            frontier = self._node(level["frontier"], {}, frozenset())
            self.levels.append(
                Level(level["bits"], self.nodes[ids[name]], frontier, level["roles"])
            )
        reference = ids[job["reference"]] if job["reference"] is not None else None
        return PlannedJob(job["label"], job["overrides"], ids, reference)

    def _node(self, stage: StageDraft, inputs: dict[str, str], sources: frozenset[str]) -> Node:
        """A stage as a node; ``sources`` are the roles that a source fills as it is."""
        same = json.dumps([stage, inputs], sort_keys=True)
        if same not in self._built:
            self._built[same] = self._build(stage, inputs, sources)
        return self._built[same]

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
            ),
        )

    def _pin(self, given: Mapping[str, Json]) -> tuple[Mapping[str, Json], Mapping[str, Json]]:
        same = json.dumps(given, sort_keys=True)
        if same not in self._pins:
            revision = given["revision"]
            pinned = self.pinner.pin(
                str(given["source"]), None if revision is None else str(revision)
            )
            self._pins[same] = (pinned.params, pinned.where)
        return self._pins[same]


def _names(jobs: Sequence[PlannedJob]) -> dict[str, str]:
    """A display name for each node: its stage's name, and the labels of its jobs where a stage of
    that name is several nodes."""
    stages: dict[str, str] = {}
    labels: dict[str, list[str]] = {}
    for job in jobs:
        for stage, node in job.nodes.items():
            stages.setdefault(node, stage)
            labels.setdefault(node, []).append(job.label)
    several = Counter(stages.values())
    names: dict[str, str] = {}
    for node, stage in stages.items():
        distinct = list(dict.fromkeys(labels[node]))
        label = distinct[0] + (f" +{len(distinct) - 1}" if len(distinct) > 1 else "")
        names[node] = f"{stage}[{label}]" if several[stage] > 1 else stage
    taken = Counter(names.values())
    return {
        node: name if taken[name] == 1 else f"{name}#{node[:6]}" for node, name in names.items()
    }
