"""What a run would do, without running: hits, misses and why; and what differs from before."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from qpipe.core import dropped
from qpipe.core.graph import Graph, Node
from qpipe.core.key import Json
from qpipe.core.manifest import Manifest
from qpipe.core.store import Artifact, ArtifactStore
from qpipe.errors import StoreError


@dataclass(frozen=True)
class Forecast:
    """A forecast for one node. ``key`` is None as long as it depends on an input's content.

    ``cached``: in the store. ``run``: not there, it would run. ``unknown``: an input has to be made
    first; ``why`` says which. ``made_before``: the same configuration was, and would be cached if
    its inputs came out as they did then.
    """

    node: Node
    state: Literal["cached", "run", "unknown"]
    why: str
    key: str | None = None
    artifact: Artifact | None = None
    made_before: bool = False


def forecast(
    graph: Graph,
    store: ArtifactStore,
    *,
    again: Collection[str] = (),
    results_only: bool = False,
) -> list[Forecast]:
    """One forecast a node, in graph order; the store is only read.

    Nodes whose ids are in ``again`` are made though they are there. With ``results_only`` those
    whose bytes went (`qpipe.core.dropped`) are cached, as far as nothing needs them.
    """
    forecasts: dict[str, Forecast] = {}
    for node in graph.values():
        item = _look(node, forecasts, store)
        if results_only and item.state == "run" and graph.users[node.id]:
            item = _recalled(item, store)
        forecasts[node.id] = _again(item) if node.id in again else item
    if results_only:
        _need_again(forecasts)
    return list(forecasts.values())


def _recalled(item: Forecast, store: ArtifactStore) -> Forecast:
    """The forecast of a node whose bytes went, if they did."""
    artifact = dropped.recall(store, item.key or "")
    if artifact is None:
        return item
    why = "made and measured; its bytes went (run.keep=results)"
    return replace(item, state="cached", why=why, artifact=artifact)


def _need_again(forecasts: dict[str, Forecast]) -> None:
    """Have those be made again whose bytes went and which something needs that is to be made."""
    for user in reversed([*forecasts]):
        item = forecasts[user]
        if item.state == "cached" or item.made_before:
            continue
        for node in item.node.inputs.values():
            source = forecasts[node]
            if source.artifact is not None and not source.artifact.path.is_dir():
                why = f"its bytes went (run.keep=results), and are needed again by {item.node.name}"
                forecasts[node] = Forecast(source.node, "run", why, source.key)


def _again(item: Forecast) -> Forecast:
    if item.state == "unknown":
        return replace(item, made_before=False, why=item.why.partition(";")[0])
    why = "in the store, made again as asked for" if item.artifact else item.why
    return Forecast(item.node, "run", why, item.key)


def _look(node: Node, forecasts: Mapping[str, Forecast], store: ArtifactStore) -> Forecast:
    inputs = {role: forecasts[node_id] for role, node_id in node.decisive.items()}
    pending = [each.node.name for each in inputs.values() if each.artifact is None]
    if pending:
        why = f"unknown until {', '.join(dict.fromkeys(pending))} has run"
        before = store.key_of(node.id)
        there = before is not None and store.paths.artifact(before).is_dir()
        why += "; cached if that comes out as it did before" if there else ""
        return Forecast(node, "unknown", why, made_before=there)
    manifests = {role: each.artifact.manifest for role, each in inputs.items() if each.artifact}
    key = node.key(node.digests(manifests))
    try:
        artifact = store.peek(key)
    except StoreError as error:
        return Forecast(node, "run", f"damaged in the store, made again: {error}", key)
    if artifact is not None:
        return Forecast(node, "cached", "in the store", key, artifact)
    return Forecast(node, "run", "not in the store", key)


@dataclass(frozen=True)
class FieldDifference:
    """A field of a node's configuration that a cached artifact has otherwise."""

    field: str
    here: Json
    there: Json


def nearest_cached(
    node: Node, inputs: Mapping[str, str], store: ArtifactStore
) -> tuple[Manifest, list[FieldDifference]] | None:
    """The cached artifact of the same stage that differs from ``node`` in the fewest fields; of
    several the one that was made for the same, and is called the same.

    ``inputs`` are the content digests of the node's inputs, as far as they are known.
    """
    best: tuple[Manifest, list[FieldDifference]] | None = None
    least: tuple[int, bool, bool] | None = None
    for key in store.all_keys():
        try:
            manifest = Manifest.load(store.paths.artifact(key))
        except StoreError:
            continue  # damaged: no help here, `qpipe verify` reports it
        if manifest.stage != node.stage:
            continue
        differences = list(_differences(node, inputs, manifest))
        other = manifest.facts.get("made_for") != node.made_for
        distance = len(differences), other, manifest.name != node.name
        if least is None or distance < least:
            best, least = (manifest, differences), distance
    return best


def _differences(
    node: Node, inputs: Mapping[str, str], manifest: Manifest
) -> Iterator[FieldDifference]:
    if node.version != manifest.version:
        yield FieldDifference("version", node.version, manifest.version)
    yield from _mapping("params", node.params, manifest.params)
    yield from _mapping("engine", node.engine, manifest.engine)
    there = {role: entry["digest"] for role, entry in manifest.inputs.items()}
    here: dict[str, Json] = {role: inputs.get(role, "(not made yet)") for role in node.inputs}
    yield from _mapping("inputs", here, there)


def _mapping(
    field: str, here: Mapping[str, Json], there: Mapping[str, Json]
) -> Iterator[FieldDifference]:
    for name in sorted(here.keys() | there.keys()):
        ours, theirs = here.get(name), there.get(name)
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            yield from _mapping(f"{field}.{name}", ours, theirs)
        elif ours != theirs:
            yield FieldDifference(f"{field}.{name}", ours, theirs)
