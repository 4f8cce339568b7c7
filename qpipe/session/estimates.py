"""About what the nodes of a run will take, by what such nodes in the store took."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from qpipe.core.graph import Graph, Node
from qpipe.session import listing

# The newest of each kind that count, and how many times as large or small the source may be.
_NEWEST = 8
_REACH = 30

# The roles by which a node is made from a model, or measures it.
FROM = ("model", "checkpoint")

# Kinds of sources whose bytes come over a network.
_FETCHED = ("model", "dataset", "remote")


class NodeEstimate(NamedTuple):
    """The estimate of a node: ``seconds``, and bytes of ``memory`` at its peak; None where such
    nodes in the store do not tell."""

    seconds: float | None = None
    memory: int | None = None


class _Took(NamedTuple):
    """An artifact in the store: when it was made, in how many seconds, the bytes of the source that
    it leads back to, those of memory at its peak, of what it was made from, and its own."""

    created: float
    seconds: float
    source_bytes: int | None
    memory: int
    input_bytes: int | None
    size: int


def estimates(
    graph: Graph, *, ended: Container[str], sizes: Mapping[str, int], store: str
) -> dict[str, NodeEstimate]:
    """Return an estimate by the ids of nodes that have not ``ended``, as far as the store has such
    nodes.

    Seconds are scaled by the bytes of the source that the model was made from, memory by those of
    what the node takes, where ``sizes`` has them by id: without them nothing is said of what leads
    from it. Raises StoreError.
    """
    history = _history(store)
    sources: dict[str, str] = {}
    answers: dict[str, NodeEstimate] = {}
    for node in graph.values():
        inputs = [node.inputs[role] for role in FROM if role in node.inputs]
        sources[node.id] = sources[inputs[0]] if inputs else node.id
        took = history.get((node.stage, _stage(node.name), None if inputs else _kind(node)))
        if node.id in ended or not took:
            continue
        if not inputs:
            answers[node.id] = _of_source(node, took, sizes.get(node.id))
            continue
        source, size = sizes.get(sources[node.id]), sizes.get(inputs[0])
        estimate = NodeEstimate(
            None if source is None else _scaled(took, source),
            None if size is None else _memory(node, took, size),
        )
        if estimate != NodeEstimate():
            answers[node.id] = estimate
    return answers


def _of_source(node: Node, took: Sequence[_Took], size: int | None) -> NodeEstimate:
    """The estimate of a source: as long as others took, what is fetched by its bytes."""
    memory = _whole(_middle(each.memory for each in took if each.memory))
    if _kind(node) not in _FETCHED:
        return NodeEstimate(_middle(each.seconds for each in took), memory)
    known = [each for each in took if each.size]
    ratios = [] if size is None else [(each.seconds, size / each.size) for each in known]
    seconds = _middle(s * ratio for s, ratio in ratios if 1 / _REACH <= ratio <= _REACH)
    return NodeEstimate(seconds, memory)


def _kind(node: Node) -> str | None:
    kind = node.params.get("kind") if not node.inputs else None
    return kind if isinstance(kind, str) else None


def _memory(node: Node, took: Iterable[_Took], size: int) -> int | None:
    slope = node.runtime.resources.memory_per_input_byte
    return memory_by(slope, ((each.memory, each.input_bytes) for each in took), size)


def memory_by(slope: float, took: Iterable[tuple[int, int | None]], size: int) -> int | None:
    """The bytes of memory of a node with ``size`` bytes of input, by the (peak, bytes of input) of
    others: ``slope`` more for each byte more, as its stage declares (`Resources`), and not more
    than in proportion. None where nothing is known of any."""
    values = []
    for peak, own in took:
        if peak:
            ends = sorted((peak, peak * size / own)) if own else [peak, peak]
            values.append(min(max(peak + slope * (size - (own or size)), ends[0]), ends[1]))
    return _whole(_middle(values))


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _scaled(took: Sequence[_Took], size: int) -> float | None:
    """Seconds in proportion to the bytes of the source, by those that are not of another order: of
    a model a thousand times as small, starting took the time."""
    ratios = (
        (each.seconds, size / each.source_bytes if each.source_bytes else 1.0) for each in took
    )
    return _middle(s * ratio for s, ratio in ratios if 1 / _REACH <= ratio <= _REACH)


def _middle(values: Iterable[float]) -> float | None:
    """The median, None of nothing; importing statistics would take longer than a remembered plan
    may."""
    ordered = sorted(values)
    if not ordered:
        return None
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _history(store: str) -> dict[tuple[str, str, str | None], list[_Took]]:
    """The newest artifacts of each kind."""
    records = {r["key"]: r for r in listing.entries(store) if r["status"] == "ok"}
    kinds: dict[tuple[str, str, str | None], list[_Took]] = {}
    for record in records.values():
        kind = record["stage"], _stage(record["name"]), record["source_kind"]
        made_from = records.get(record["made_from"] or "")
        took = _Took(
            record["created"],
            record["seconds"],
            _source_bytes(record, records),
            record["peak_rss"],
            None if made_from is None else made_from["size_bytes"],
            record["size_bytes"],
        )
        kinds.setdefault(kind, []).append(took)
    return {kind: sorted(took, key=_age)[-_NEWEST:] for kind, took in kinds.items()}


def _age(took: _Took) -> float:
    return took.created


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
