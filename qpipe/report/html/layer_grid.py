"""Tensors in rows by kind and columns by layer, as grids of the report show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class TensorInGrid(Protocol):
    """A tensor with a kind and the number of its layer, None for that of none."""

    @property
    def kind(self) -> str:
        """The name that tensors of all layers share."""

    @property
    def layer(self) -> int | None:
        """The number of the layer."""


GridT = TypeVar("GridT", bound=TensorInGrid)


def layer_grid(
    tensors: Sequence[GridT],
) -> tuple[list[int | None], dict[str, list[GridT | None]]]:
    """Return the layers, first None if some tensor is of none, and for each kind the tensor of each
    layer, None where there is none."""
    layers = sorted({tensor.layer for tensor in tensors}, key=_order)
    column = {layer: number for number, layer in enumerate(layers)}
    kinds: dict[str, list[GridT | None]] = {}
    for tensor in tensors:
        kinds.setdefault(tensor.kind, [None] * len(layers))[column[tensor.layer]] = tensor
    return layers, kinds


def _order(layer: int | None) -> int:
    return -1 if layer is None else layer
