"""Matrices of a GGUF file by kind and layer, as the JSON that tensors.js reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qpipe.report.html.layer_grid import layer_grid
from qpipe.report.text import printable
from qpipe.results.tensors import TensorDetail


def tensor_grid(tensors: Sequence[TensorDetail]) -> dict[str, Any] | None:
    """Return ``{"types", "layers", "kinds"}``, None where no tensor is known.

    ``layers`` are their numbers, first None for tensors of no layer if there are any; each of
    ``kinds`` has its name, its shape where all are of one, and for each layer the number of its
    type and its error, None where there is none. Vectors, which are never quantized, are left out.
    """
    matrices = [tensor for tensor in tensors if len(tensor.shape) > 1]
    if not matrices:
        return None
    types = list(dict.fromkeys(tensor.type for tensor in matrices))
    layers, kinds = layer_grid(matrices)
    return {
        "types": types,
        "layers": layers,
        "kinds": [_kind(name, of, types) for name, of in kinds.items()],
    }


def _kind(name: str, of: Sequence[TensorDetail | None], types: Sequence[str]) -> dict[str, Any]:
    shapes = {" × ".join(map(str, each.shape)) for each in of if each is not None}
    return {
        "name": printable(name),
        "shape": shapes.pop() if len(shapes) == 1 else None,
        "types": [None if each is None else types.index(each.type) for each in of],
        "errors": [None if each is None else each.error for each in of],
    }
