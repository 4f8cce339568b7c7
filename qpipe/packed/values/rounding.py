"""Numbers in float32 rounded to what a library rounds them to."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers import floats
from qpipe.gguf.types import GGMLType
from qpipe.packed.values.base import FloatArray

_ROUND, _ODD, _KEPT = np.uint32(0x7FFF), np.uint32(1), np.uint32(0xFFFF0000)
_F16_OVERFLOWS = 65520.0


def rounded(numbers: FloatArray, dtype: str) -> FloatArray:
    """``numbers``, which may be overwritten, to the nearest of ``dtype``, ties to even, beyond its
    largest infinite, as torch does."""
    if dtype == "BF16":
        bits = np.ascontiguousarray(numbers).view(np.uint32)
        bits += ((bits >> np.uint32(16)) & _ODD) + _ROUND
        bits &= _KEPT
        return bits.view(np.float32)
    if dtype == "F16":
        if floats.largest(numbers) < _F16_OVERFLOWS:
            return floats.rounded(np.ascontiguousarray(numbers), GGMLType.F16)
        with np.errstate(over="ignore"):
            return numbers.astype(np.float16).astype(np.float32)
    return numbers
