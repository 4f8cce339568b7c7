"""ggml tensor types: names, block sizes, bytes.

Shapes are in numpy order throughout this package: the last dimension is the row that ggml
quantizes (its ``ne[0]``). Only files and reports that quote ggml turn it around.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as GGMLType

from qpipe import errors

__all__ = ["FLOATS", "GGMLType", "block_size", "fits", "parse_type", "row_bytes", "tensor_bytes"]
FLOATS = (GGMLType.F32, GGMLType.F16, GGMLType.BF16)


def parse_type(name: str, *, where: str) -> GGMLType:
    """The type called ``name`` (any case); ``where`` opens the message of a `RecipeError`."""
    try:
        return GGMLType[name.upper()]
    except KeyError:
        known = errors.nearest(name.upper(), GGMLType.__members__)
        raise errors.RecipeError(f"{where}: {name!r} is no ggml tensor type; {known}") from None


def block_size(kind: GGMLType) -> int:
    """Weights per block; a row is a whole number of blocks."""
    return int(GGML_QUANT_SIZES[kind][0])


def fits(kind: GGMLType, n_per_row: int) -> bool:
    """Whether a row of ``n_per_row`` weights can be stored as ``kind``."""
    return n_per_row % block_size(kind) == 0


def row_bytes(kind: GGMLType, n_per_row: int) -> int:
    """Bytes of one row (ggml.c, ggml_row_size)."""
    weights, size = GGML_QUANT_SIZES[kind]
    assert n_per_row % weights == 0, (kind, n_per_row)
    return n_per_row // int(weights) * int(size)


def tensor_bytes(kind: GGMLType, shape: Sequence[int]) -> int:
    """Bytes of a whole tensor, without padding."""
    return math.prod(shape[:-1]) * row_bytes(kind, shape[-1])
