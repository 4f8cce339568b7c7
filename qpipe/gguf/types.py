"""ggml tensor types: names, numbers, block sizes, bytes; standard library only.

Source: ggml.h (enum ggml_type) and ggml.c (type_traits); a test compares with the gguf package, of
which 0.19.0 lacks Q2_0, and with ggml itself.
Shapes are in numpy order throughout this package: the last dimension is the row that ggml
quantizes (its ``ne[0]``). Only files and reports that quote ggml turn it around.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum

from qpipe import errors


class GGMLType(Enum):
    """(number in the file, weights per block, bytes per block)."""

    F32 = (0, 1, 4)
    F16 = (1, 1, 2)
    Q4_0 = (2, 32, 18)
    Q4_1 = (3, 32, 20)
    Q5_0 = (6, 32, 22)
    Q5_1 = (7, 32, 24)
    Q8_0 = (8, 32, 34)
    Q8_1 = (9, 32, 40)
    Q2_K = (10, 256, 84)
    Q3_K = (11, 256, 110)
    Q4_K = (12, 256, 144)
    Q5_K = (13, 256, 176)
    Q6_K = (14, 256, 210)
    Q8_K = (15, 256, 292)
    IQ2_XXS = (16, 256, 66)
    IQ2_XS = (17, 256, 74)
    IQ3_XXS = (18, 256, 98)
    IQ1_S = (19, 256, 50)
    IQ4_NL = (20, 32, 18)
    IQ3_S = (21, 256, 110)
    IQ2_S = (22, 256, 82)
    IQ4_XS = (23, 256, 136)
    I8 = (24, 1, 1)
    I16 = (25, 1, 2)
    I32 = (26, 1, 4)
    I64 = (27, 1, 8)
    F64 = (28, 1, 8)
    IQ1_M = (29, 256, 56)
    BF16 = (30, 1, 2)
    TQ1_0 = (34, 256, 54)
    TQ2_0 = (35, 256, 66)
    MXFP4 = (39, 32, 17)
    NVFP4 = (40, 64, 36)
    Q1_0 = (41, 128, 18)
    Q2_0 = (42, 64, 18)

    def __init__(self, number: int, block: int, block_bytes: int) -> None:
        """Keep the type's ``number`` in the tensor table, the weights per ``block`` (a row is a
        whole number of blocks), and its bytes."""
        self.number, self.block, self.block_bytes = number, block, block_bytes

    def fits(self, n_per_row: int) -> bool:
        """True if a row of ``n_per_row`` weights can be stored as this type."""
        return n_per_row % self.block == 0

    def row_bytes(self, n_per_row: int) -> int:
        """Bytes of one row (ggml.c, ggml_row_size)."""
        assert self.fits(n_per_row), (self, n_per_row)
        return n_per_row // self.block * self.block_bytes

    def tensor_bytes(self, shape: Sequence[int]) -> int:
        """Bytes of a whole tensor, without padding."""
        return math.prod(shape[:-1]) * self.row_bytes(shape[-1])


BY_NUMBER = {kind.number: kind for kind in GGMLType}
FLOATS = (GGMLType.F32, GGMLType.F16, GGMLType.BF16)


def parse_type(name: str, *, where: str) -> GGMLType:
    """The type called ``name`` (any case); ``where`` opens the message of a `RecipeError`."""
    try:
        return GGMLType[name.upper()]
    except KeyError:
        hint = errors.nearest(name.upper(), GGMLType.__members__)
        raise errors.RecipeError(f"{where}: {name!r} is no ggml tensor type; {hint}") from None
