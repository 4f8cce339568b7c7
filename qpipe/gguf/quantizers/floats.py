"""F32, F16, BF16: an importance matrix changes nothing."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers import Bytes, Floats, _compiled
from qpipe.gguf.types import GGMLType

# Halfway between the largest number of a type and the next that it would have: rounds to infinity.
_F16_OVERFLOWS = 65520.0
_BF16_OVERFLOWS = float.fromhex("0x1.ffp127")


def f32(rows: Floats, /, *, imatrix: Floats | None = None) -> Bytes:
    """The floats themselves, little endian."""
    return np.ascontiguousarray(rows, "<f4").view(np.uint8)


def f16(rows: Floats, /, *, imatrix: Floats | None = None) -> Bytes:
    """IEEE half precision, round to nearest even; `OverflowError` beyond ±65504."""
    if largest(rows) >= _F16_OVERFLOWS:
        worst = float(rows[np.abs(rows) >= _F16_OVERFLOWS][0])
        raise OverflowError(f"the weight {worst:g} lies outside the range of F16 (±65504)")
    return rows.astype("<f2").view(np.uint8)


def bf16(rows: Floats, /, *, imatrix: Floats | None = None) -> Bytes:
    """The upper half of a float32, rounded to nearest even.

    Source: ggml-impl.h, ggml_compute_fp32_to_bf16. `OverflowError` for the few floats above
    BF16's largest.
    """
    if largest(rows) >= _BF16_OVERFLOWS:
        worst = float(rows[np.abs(rows) >= _BF16_OVERFLOWS][0])
        raise OverflowError(f"the weight {worst:g} lies outside BF16's range")
    bits = np.ascontiguousarray(rows, np.float32).view(np.uint32)
    rounded = bits >> 16
    rounded &= 1
    rounded += bits
    rounded += 0x7FFF
    rounded >>= 16
    return rounded.astype("<u2").view(np.uint8)


def rounded(rows: Floats, through: GGMLType, /) -> Floats:
    """Finite ``rows`` as they would be read again from a file in F32, F16 or BF16.

    `OverflowError` as the types raise it. F16 is compiled: a fortieth of the time of numpy's casts.
    """
    if through == GGMLType.F32:
        return rows
    if through == GGMLType.BF16:
        return (bf16(rows).view("<u2").astype(np.uint32) << 16).view(np.float32)
    if largest(rows) >= _F16_OVERFLOWS:
        f16(rows)  # which says for which weight
    halves = _compiled.run("through_f16", rows, block=1, block_bytes=4)
    return halves.view(np.float32).reshape(rows.shape)


def largest(rows: Floats, /) -> float:
    """The largest size of a weight; infinite or NaN if any is, 0 if there is none."""
    return float(max(rows.max(initial=0), -rows.min(initial=0)))


QUANTIZERS = {GGMLType.F32: f32, GGMLType.F16: f16, GGMLType.BF16: bf16}
