"""How far a quantized tensor is from its source: ‖q − x‖ ÷ ‖x‖, of rows that are at hand anyway.

Of a large tensor it is that of a sample: every row would make a fast type such as Q8_0 take half as
long again. Which rows are in it depends on the tensor's shape alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qpipe.gguf import ggml, types
from qpipe.gguf.types import GGMLType

# Weights of a tensor that are always in the sample, and the rows of a large one of which one is.
_SAMPLE, _SPARSEST = 1 << 14, 64

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Squares:
    """The sums of (q − x)² and of x²."""

    error: float = 0.0
    weights: float = 0.0

    def __add__(self, other: Squares) -> Squares:
        return Squares(self.error + other.error, self.weights + other.weights)

    @property
    def relative(self) -> float:
        """‖q − x‖ ÷ ‖x‖, to four digits; 0 for weights that are all 0, as their images are."""
        root = math.sqrt(self.error / self.weights) if self.weights else 0.0
        return float(f"{root:.4g}")


def stride(shape: Sequence[int]) -> int:
    """Return of how many rows of a tensor one is looked at.

    It is odd: heads and the halves of a rotation lie at even distances.
    """
    return min(math.prod(shape) // _SAMPLE, _SPARSEST) | 1


def squares(
    weights: Floats, encoded: Bytes, kind: GGMLType, *, start: int, shape: Sequence[int]
) -> Squares | None:
    """Return the sums over those rows of a chunk that are in the sample; None for a float type, and
    where ggml is not here to read what was written.

    ``weights`` [rows, n_per_row] are the source's, ``encoded`` [rows, bytes per row] what was made
    of them, and ``start`` the number of the first row within the tensor of ``shape``.
    """
    if kind in types.FLOATS or not ggml.dequantizes(kind):
        return None
    step = stride(shape)
    rows = slice(-start % step, None, step)
    exact = weights[rows]
    off = ggml.dequantize(encoded[rows], kind, exact.shape[1])
    np.subtract(off, exact, out=off)
    return Squares(_sum_of_squares(off), _sum_of_squares(exact))


def _sum_of_squares(values: Floats) -> float:
    """In pairs, which single precision is enough for; BLAS's threads would change the last bits."""
    return float(np.square(values).sum())
