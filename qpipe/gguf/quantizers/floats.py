"""F32, F16, BF16: an importance matrix changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.gguf.quantizers import Bytes, Floats, _compiled
from qpipe.gguf.types import GGMLType

_F16_OVERFLOWS = 65520.0  # halfway between F16's largest number and infinity: rounds to infinity


def f32(rows: Floats, /, *, imatrix: Floats | None = None) -> Bytes:
    """The floats themselves, little endian."""
    return np.ascontiguousarray(rows, "<f4").view(np.uint8)


def f16(rows: Floats, /, *, imatrix: Floats | None = None) -> Bytes:
    """IEEE half precision, round to nearest even; `OverflowError` beyond ±65504."""
    with np.errstate(over="ignore"):
        half = rows.astype("<f2")
    _check_range(half, rows)
    return half.view(np.uint8)


def _check_range(halves: npt.NDArray[np.floating[Any]], rows: Floats) -> None:
    infinite = np.isinf(halves)
    if infinite.any():
        worst = float(rows[infinite][0])
        raise OverflowError(f"the weight {worst:g} lies outside the range of F16 (±65504)")


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
