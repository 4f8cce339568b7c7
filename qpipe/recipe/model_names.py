"""What a plan's models and data are called: by the recipe's ``name``, or by their sources."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple, TypeVar

from qpipe.core.graph import Graph, PlannedJob

# The roles by which something is made from a model, or is about it.
_FROM = ("model", "checkpoint")
_DOWNLOAD = "download"
_SUFFIX = re.compile(r"(-\d{5}-of-\d{5})?\.gguf$|\.reference\.safetensors$")


_Of = TypeVar("_Of", bound=Hashable)


class SourceName(NamedTuple):
    """A source's ``name`` as its user knows it, its ``place`` (a path, a repository), and which
    ``version`` of it is meant, where there may be several."""

    name: str
    place: str
    version: str = ""


class ModelNames:
    """The names of models by node and by job, and those of data.

    ``jobs`` come with what the recipe calls their model, and the sources of each by node id.
    """

    def __init__(
        self,
        graph: Graph,
        jobs: Sequence[PlannedJob],
        words: Sequence[tuple[str | None, Mapping[str, SourceName]]],
    ) -> None:
        """Keep what names are made from."""
        self._graph, self._jobs = graph, jobs
        self._called = [called for called, _ in words]
        self._sources = [sources for _, sources in words]

    @cached_property
    def of_nodes(self) -> Mapping[str, str | None]:
        """The name of the model that a node is about; of several, all."""
        names: dict[str, dict[str, None]] = {node: {} for node in self._graph}
        for job, own in zip(self._jobs, self._names, strict=True):
            for node in job.nodes.values():
                names[node] |= dict.fromkeys(own[s] for s in self._models[node] if s in own)
        return {node: _joined(each) for node, each in names.items()}

    @cached_property
    def of_jobs(self) -> Sequence[str]:
        """The name of each job's model; of several, all."""
        return [_joined(dict.fromkeys(own.values())) or "" for own in self._names]

    @cached_property
    def of_data(self) -> Mapping[str, str]:
        """The names of the nodes that fetch no model: role and name of a file."""
        stages: dict[str, str] = {}
        choices: dict[str, list[str]] = {}
        for job, sources in zip(self._jobs, self._sources, strict=True):
            for stage, node in job.nodes.items():
                if node in sources and node not in self._fetched:
                    stages.setdefault(node, stage.partition(":")[0])
                    choices.setdefault(node, [sources[node].name, *_longer(sources[node])])
        short = shortest(choices)
        return {node: f"{stage}[{short[node]}]" for node, stage in stages.items()}

    def origin(self, node: str) -> str | None:
        """Return the id of the node that a node is made from, or is about."""
        inputs = self._graph[node].inputs
        return next((inputs[role] for role in _FROM if role in inputs), None)

    @cached_property
    def _fetched(self) -> frozenset[str]:
        """The sources that are models: what is taken as one, or by nobody."""
        every = {node for sources in self._sources for node in sources}
        taken = {
            source
            for node in self._graph.values()
            for role, source in node.inputs.items()
            if role in _FROM
        }
        return frozenset(n for n in every if n in taken or not self._graph.users[n])

    @cached_property
    def _models(self) -> Mapping[str, tuple[str, ...]]:
        """The sources of the models that nodes are about."""
        models: dict[str, tuple[str, ...]] = {}
        for node in self._graph.values():
            if node.id in self._fetched:
                models[node.id] = (node.id,)
                continue
            own = self.origin(node.id)
            inputs = node.inputs.values() if own is None else [own]
            models[node.id] = tuple(dict.fromkeys(s for i in inputs for s in models[i]))
        return models

    @cached_property
    def _names(self) -> Sequence[Mapping[str, str]]:
        """The name of each model of each job, by the node that fetches it: two of different content
        never have the same."""
        called = [self._called_by(number) for number in range(len(self._jobs))]
        short = shortest(
            {
                (node, name, sources[node]): _choices(node, name, sources[node])
                for names, sources in zip(called, self._sources, strict=True)
                for node, name in names.items()
            },
            of=lambda model: model[0],
        )
        return [
            {node: short[node, name, sources[node]] for node, name in names.items()}
            for names, sources in zip(called, self._sources, strict=True)
        ]

    def _called_by(self, number: int) -> Mapping[str, str | None]:
        """The names that a job gives its models, by the nodes that fetch them; None: none."""
        models = [node for node in self._sources[number] if node in self._fetched]
        main = models[0] if len(models) == 1 else self._jobs[number].nodes.get(_DOWNLOAD)
        return {node: self._called[number] if node == main else None for node in models}


def shortest(
    choices: Mapping[_Of, Sequence[str]], *, of: Callable[[_Of], object] = lambda one: one
) -> dict[_Of, str]:
    """Return the first of the ``choices`` for each, and where another has that too, the first after
    it that tells them apart. Those for which ``of`` gives one value are never told apart."""
    places = dict.fromkeys(choices, 0)
    while True:
        names = {one: choices[one][place] for one, place in places.items()}
        bearers: dict[str, set[object]] = {}
        for one, name in names.items():
            bearers.setdefault(name, set()).add(of(one))
        alike = [
            one
            for one, name in names.items()
            if len(bearers[name]) > 1 and places[one] < len(choices[one]) - 1
        ]
        if not alike:
            return names
        for one in alike:
            places[one] += 1


def _choices(node: str, called: str | None, source: SourceName) -> list[str]:
    """Names for a model, the shortest first; the last is no other's."""
    last = _last_part(source.name)
    details = [last, *_longer(source)]
    if called is None:
        return [*details, f"{last} {node[:6]}"]
    more = [f"{called} ({detail})" for detail in details if detail != called]
    return [called, *more, f"{called} {node[:6]}"]


def _longer(source: SourceName) -> list[str]:
    """Longer and longer names of a source: with its folder, the whole path, with its version."""
    parts = source.place.rstrip("/").split("/")
    return ["/".join(parts[-2:]), source.place, f"{source.place}@{source.version}".rstrip("@")]


def _last_part(name: str) -> str:
    """``Qwen2.5-0.5B`` of ``Qwen/Qwen2.5-0.5B``; of a GGUF or reference file its
    name without the suffix."""
    last = name.rstrip("/").rsplit("/", 1)[-1]
    return _SUFFIX.sub("", last) or last or name


def _joined(names: Mapping[str, None]) -> str | None:
    first, rest = [*names][:2], [*names][2:]
    return ", ".join(first) + (f" +{len(rest)}" if rest else "") if first else None
