"""F32, F16, BF16: an importance matrix changes nothing."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers import Bytes, Floats
from qpipe.gguf.types import GGMLType


def f32(rows: Floats, /, *, imatrix: Floats | None = None) -> Bytes:
    """The floats themselves, little endian."""
    return np.ascontiguousarray(rows, "<f4").view(np.uint8)


def f16(rows: Floats, /, *, imatrix: Floats | None = None) -> Bytes:
    """IEEE half precision, round to nearest even; `OverflowError` beyond ±65504."""
    with np.errstate(over="ignore"):
        half = rows.astype("<f2")
    infinite = np.isinf(half)
    if infinite.any():
        worst = float(rows[infinite][0])
        raise OverflowError(f"the weight {worst:g} lies outside the range of F16 (±65504)")
    return half.view(np.uint8)


def bf16(rows: Floats, /, *, imatrix: Floats | None = None) -> Bytes:
    """The upper half of a float32, rounded to nearest even.

    Source: ggml-impl.h, ggml_compute_fp32_to_bf16. `OverflowError` for the few floats above
    BF16's largest.
    """
    bits = np.ascontiguousarray(rows, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    if (infinite := (rounded & 0x7FFF) == 0x7F80).any():
        raise OverflowError(f"the weight {float(rows[infinite][0]):g} lies outside BF16's range")
    return rounded.astype("<u2").view(np.uint8)


QUANTIZERS = {GGMLType.F32: f32, GGMLType.F16: f16, GGMLType.BF16: bf16}
