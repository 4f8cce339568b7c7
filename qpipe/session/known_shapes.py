"""Sizes of what a run would make of a repository whose config.json is not at hand, by the shapes of
known models that come with qpipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qpipe.core.forecast import Forecast
from qpipe.core.graph import Graph, Node
from qpipe.errors import QpipeError
from qpipe.results.preview import Preview
from qpipe.sizes.known import shapes
from qpipe.sizes.known_fields import FIELDS
from qpipe.sizes.predict import predict
from qpipe.sources.hub_source import hub_source

_FROM = ("model", "checkpoint")
_NOTE = "its config.json is not at hand: sizes are by its shapes, which come with qpipe"


def previews(
    graph: Graph, forecasts: Sequence[Forecast], known: Mapping[str, Any]
) -> dict[str, Preview]:
    """Map the ids of nodes that are not in the store, and of which nothing is ``known``, to about
    what they would make."""
    left = [f.node for f in forecasts if f.state != "cached" and f.node.id not in known]
    return {node.id: preview for node in left for preview in _previews(graph, node)}


def _previews(graph: Graph, node: Node) -> Iterator[Preview]:
    """One or none."""
    fields = _shapes(graph, node)
    asked = {"method": "none", "dtype": "source"}
    wanted = asked if not node.inputs else section(node.stage, node.params, node.inputs)
    if fields is None or wanted is None:
        return
    try:
        size = predict(fields, wanted)
    except QpipeError:  # what is not known here, running tells
        return
    facts: dict[str, Any] = {"format": size.format, "size_bytes": size.file_bytes}
    facts |= {"weights": size.weights, "bits_per_weight": size.bits_per_weight}
    if not node.inputs:
        facts = {"format": "files", "size_bytes": size.file_bytes}
        facts |= {"download_bytes": size.file_bytes, "notes": [_NOTE]}
    yield Preview(facts, {}, about=True)


def _shapes(graph: Graph, node: Node) -> Mapping[str, Any] | None:
    """The shapes of the repository that a node is made from; None of one that is not known."""
    while node.inputs:
        before = next((node.inputs[role] for role in _FROM if role in node.inputs), None)
        if before is None:
            return None
        node = graph[before]
    source = hub_source(node.params)
    if source is None or source.kind != "model" or source.one_file is not None or source.is_gguf:
        return None
    return shapes(source.repo)


def section(
    stage: str, params: Mapping[str, Any], inputs: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """The fields of ``quantize`` that a node was made by; None of one that makes no model."""
    if stage == "convert" and params.get("to") == "gguf":
        return {"method": "none", "via": params.get("outtype", "f16")}
    method = params.get("method")
    if stage != "quantize" or method not in FIELDS:
        return None
    fields = {name: params[name] for name in FIELDS[str(method)] if name in params}
    return {**fields, "imatrix": True} if "imatrix" in inputs else fields
