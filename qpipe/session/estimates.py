"""About how long the nodes of a run will take, by what such nodes in the store took."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, NamedTuple

from qpipe.core.graph import Graph
from qpipe.session import listing

# The newest of each kind that count.
_NEWEST = 8

# The roles by which a node is made from a model, or measures it.
_FROM = ("model", "checkpoint")


class _Took(NamedTuple):
    """An artifact in the store: when it was made, in how many seconds, and the bytes of the source
    that it leads back to."""

    created: float
    seconds: float
    source_bytes: int | None


def estimates(
    graph: Graph, *, ended: Container[str], sizes: Mapping[str, int], store: str
) -> dict[str, float]:
    """Return seconds by the ids of nodes that have not ``ended``, as far as the store has such
    nodes.

    Scaled by the bytes of the source that the model was made from, where ``sizes`` has them by id:
    without it nothing is said of what leads from it. Raises StoreError.
    """
    history = _history(store)
    sources: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for node in graph.values():
        inputs = [node.inputs[role] for role in _FROM if role in node.inputs]
        sources[node.id] = sources[inputs[0]] if inputs else node.id
        took = history.get((node.stage, _stage(node.name)))
        if node.id in ended or not took:
            continue
        if not inputs:
            seconds[node.id] = _median(each.seconds for each in took)
        elif (size := sizes.get(sources[node.id])) is not None:
            seconds[node.id] = _scaled(took, size)
    return seconds


def _scaled(took: list[_Took], size: int) -> float:
    return _median(
        each.seconds * (size / each.source_bytes if each.source_bytes else 1.0) for each in took
    )


def _median(values: Iterable[float]) -> float:
    """The median; importing statistics would take longer than a remembered plan may."""
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _history(store: str) -> dict[tuple[str, str], list[_Took]]:
    """The newest artifacts of each kind."""
    records = {r["key"]: r for r in listing.entries(store) if r["status"] == "ok"}
    kinds: dict[tuple[str, str], list[_Took]] = {}
    for record in records.values():
        kind = record["stage"], _stage(record["name"])
        took = _Took(record["created"], record["seconds"], _source_bytes(record, records))
        kinds.setdefault(kind, []).append(took)
    return {kind: sorted(took)[-_NEWEST:] for kind, took in kinds.items()}


def _source_bytes(
    record: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]
) -> int | None:
    """The bytes of the artifact at the beginning of the line that one was made in."""
    seen = {record["key"]}
    while record["made_from"] in records and record["made_from"] not in seen:
        record = records[record["made_from"]]
        seen.add(record["key"])
    return record["size_bytes"] if len(seen) > 1 and record["made_from"] is None else None


def _stage(name: str) -> str:
    """The stage in the name of a node, as ``perplexity`` of ``perplexity[Q4_0]``."""
    return name.partition("[")[0]
