"""What nodes, their models and jobs are called: for people, and part of no id or key.

A node's name says its stage, its model and, where a model has several nodes of that stage, what
sets this one apart: ``quantize[tinystories-d256 Q4_K_M]``. Data have names of their own:
``text[wiki.test.raw]``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from qpipe.core.graph import Graph, PlannedJob
from qpipe.recipe.model_names import ModelNames, SourceName
from qpipe.recipe.overrides import label, names_format

_QUANTIZE = "quantize"

_Group = tuple[str, "str | None"]
"""A stage's name in recipes, and a model's."""

# What the base of all recipes calls the setting, or the group, that says which model.
_ABOUT_MODELS = ("name", "model", "source")


class JobWords(NamedTuple):
    """The words of a job that names are made of: what varies in it, by setting, what it calls its
    model, and by node id the sources that it takes."""

    varying: Mapping[str, str]
    called: str | None
    sources: Mapping[str, SourceName]


class Names:
    """The names of a plan: ``nodes`` and ``models`` by node id, ``labels`` by job."""

    def __init__(self, graph: Graph, jobs: Sequence[PlannedJob], words: Sequence[JobWords]) -> None:
        """Keep what names are made from."""
        self._graph, self._jobs = graph, jobs
        self._models = ModelNames(graph, jobs, [(one.called, one.sources) for one in words])
        modelled = self._modelled([one.varying for one in words])
        self._varying = [
            {name: value for name, value in one.varying.items() if name not in modelled}
            for one in words
        ]

    @cached_property
    def models(self) -> Mapping[str, str | None]:
        """The models' names by node; None for what is about none, such as a text."""
        return self._models.of_nodes

    @cached_property
    def labels(self) -> Sequence[str]:
        """The words that set each job apart from others of its model."""
        return [*map(label, self._varying)]

    @cached_property
    def nodes(self) -> Mapping[str, str]:
        """The names by node."""
        nodes = {node: (self._stage(node), self.models[node]) for node in self._jobs_of}
        names: dict[str, str] = {}
        for group, members in _grouped(nodes).items():
            words = self._words(members)
            names |= {node: _name(*group, words[node]) for node in members}
        names |= self._models.of_data
        taken = Counter(names.values())
        return {n: name if taken[name] == 1 else f"{name}#{n[:6]}" for n, name in names.items()}

    def _modelled(self, varying: Sequence[Mapping[str, str]]) -> set[str]:
        """The settings whose values follow from what a job's model is called."""
        models = self._models.of_jobs
        candidates = {name for each in varying for name in each}
        if len(set(models)) == 1:
            candidates &= {*_ABOUT_MODELS}
        values = {
            name: {(model, each.get(name)) for model, each in zip(models, varying, strict=True)}
            for name in candidates
        }
        return {name for name, pairs in values.items() if len(pairs) == len(set(models))}

    @cached_property
    def _jobs_of(self) -> Mapping[str, Sequence[int]]:
        """The numbers of the jobs that have a node."""
        jobs: dict[str, list[int]] = {}
        for number, job in enumerate(self._jobs):
            for node in dict.fromkeys(job.nodes.values()):
                jobs.setdefault(node, []).append(number)
        return jobs

    def _stage(self, node: str) -> str:
        """The name that recipes give to a node's stage."""
        nodes = self._jobs[self._jobs_of[node][0]].nodes
        return next(stage for stage, other in nodes.items() if other == node)

    def _words(self, nodes: Sequence[str]) -> dict[str, str]:
        """The words that set nodes of one stage and one model apart, and their model's format."""
        varying = {node: self._common(node) for node in nodes}
        several = {
            name
            for name in dict.fromkeys(name for each in varying.values() for name in each)
            if len({each.get(name) for each in varying.values()}) > 1
        }
        words: dict[str, str] = {}
        for node, each in varying.items():
            own = {name: value for name, value in each.items() if name in several}
            kind = None if names_format(own) else self._format(node)
            words[node] = " ".join(filter(None, [kind, label(own)]))
        taken = Counter(words.values())
        return {n: each if taken[each] == 1 else self._any(n) for n, each in words.items()}

    def _common(self, node: str) -> Mapping[str, str]:
        """The settings on which all jobs of a node agree."""
        first, *others = [self._varying[number] for number in self._jobs_of[node]]
        return {
            name: value
            for name, value in first.items()
            if all(other.get(name) == value for other in others)
        }

    def _any(self, node: str) -> str:
        """The label of one of a node's jobs, and how many others there are."""
        labels = [*dict.fromkeys(self.labels[number] for number in self._jobs_of[node])]
        return labels[0] + (f" +{len(labels) - 1}" if len(labels) > 1 else "")

    def _format(self, node: str) -> str | None:
        """The format of the quantized model that a node makes or is about."""
        made_from: str | None = node
        while made_from is not None and self._graph[made_from].stage != _QUANTIZE:
            made_from = self._models.origin(made_from)
        params = {} if made_from is None else self._graph[made_from].params
        if params.get("target"):
            return "mix"
        values = (params.get(name) for name in ("type", "method"))
        return next((value for value in values if isinstance(value, str)), None)


def _grouped(nodes: Mapping[str, _Group]) -> dict[_Group, list[str]]:
    groups: dict[_Group, list[str]] = {}
    for node, group in nodes.items():
        groups.setdefault(group, []).append(node)
    return groups


def _name(stage: str, model: str | None, words: str) -> str:
    inside = " ".join(filter(None, [model, words]))
    return f"{stage}[{inside}]" if inside else stage
