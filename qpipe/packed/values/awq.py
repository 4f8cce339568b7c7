"""AWQ: in GEMM rows are packed into words, 4 bits in the order 0, 2, 4, 6, 1, 3, 5, 7; in GEMV
columns are, one after the other.

Source: AutoAWQ 0.2.9, awq/modules/linear/gemm.py and gemv.py, ``from_linear``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.packed.values.base import Ends, FloatArray, Strip, Values, less, scaled, spread, unpacked

# Where the values of eight rows lie in a word, from the lowest bits up.
_ORDER = {4: (0, 2, 4, 6, 1, 3, 5, 7), 8: (0, 1, 2, 3)}


def read(part: Strip) -> Values:
    """Rows of a matrix."""
    named = part.config.get("version") or part.config.get("format")
    gemv = str(named).lower() == "gemv"
    weights, zeros, scales = (_gemv if gemv else _gemm)(part)
    bits, columns = int(part.module.bits), part.module.shape[1]
    size = part.module.group_size or -1

    def ends() -> Ends:
        zero, scale = spread(zeros, columns, size), spread(scales, columns, size)
        return scale * -zero, scale * (2**bits - 1 - zero)

    return Values(scaled(less(weights, zeros, size), scales, size), ends)


def _gemm(part: Strip) -> tuple[FloatArray, FloatArray, FloatArray]:
    bits, n = int(part.module.bits), part.stop - part.first
    words = slice(part.first * bits // 32, -(-part.stop * bits // 32))
    weights = _in_order(part.array("qweight")[:, words], bits)[:, :n].T
    zeros = _in_order(part.array("qzeros")[:, words], bits)[:, :n].T
    scales = part.scales("scales", (slice(None), slice(part.first, part.stop))).T
    return np.ascontiguousarray(weights), zeros, scales


def _in_order(words: npt.NDArray[Any], bits: int) -> FloatArray:
    each = 32 // bits
    values = unpacked(words, bits, words.shape[1] * each).reshape(len(words), -1, each)
    ordered: FloatArray = values[:, :, np.argsort(_ORDER[bits])].reshape(len(words), -1)
    return ordered


def _gemv(part: Strip) -> tuple[FloatArray, FloatArray, FloatArray]:
    bits, columns = int(part.module.bits), part.module.shape[1]
    size = part.module.group_size or -1
    count = 1 if size == -1 else -(-columns // size)
    rows = slice(part.first, part.stop)
    weights = unpacked(part.array("qweight")[rows], bits, columns)
    zeros = unpacked(part.array("qzeros")[rows], bits, count)
    return weights, zeros, part.scales("scales", (rows, slice(count)))
