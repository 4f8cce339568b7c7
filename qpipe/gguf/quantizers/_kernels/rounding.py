"""Rounding to integers and to half precision, as ggml does it, NaN and infinity included."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels.jit import Bytes, inner

MAGIC = np.float32(12582912.0)
_EXPONENT = 0x4B000000
_TWO_24 = np.float32(2.0**24)
_HALF = np.float32(0.5)


@inner
def nearest(value: np.float32) -> np.float32:
    """``value`` rounded to nearest even; beyond ±2²² the wrapped number that the C computes.

    Source: ggml-quants.c, nearest_int. The result is that integer, still as a float.
    """
    mantissa = np.float32(value + MAGIC).view(np.int32) & 0x7FFFFF
    return np.int32(mantissa | _EXPONENT).view(np.float32) - MAGIC


@inner
def nearest_level(value: np.float32, low: np.float32, high: np.float32) -> np.float32:
    """`nearest`, then clamped to [low, high]."""
    level = nearest(value)
    level = level if level > low else low
    return level if level < high else high


@inner
def to_half(value: np.float32) -> np.int64:
    """The bits of ``value`` in half precision, to nearest even (ggml_compute_fp32_to_fp16)."""
    bits = np.int64(np.float32(value).view(np.int32)) & 0xFFFFFFFF
    sign = (bits >> 16) & 0x8000
    size = bits & 0x7FFFFFFF
    if size > 0x7F800000:
        return sign | 0x7E00
    if size >= 0x477FF000:  # 65520 rounds to infinity
        return sign | 0x7C00
    if size < 0x38800000:  # a subnormal: one unit is the last bit of a float in [0.5, 1)
        shifted = np.float32(np.abs(np.float32(value)) + _HALF)
        return sign | (np.int64(shifted.view(np.int32)) - 0x3F000000)
    return sign | ((size + 0xFFF + ((size >> 13) & 1) - (112 << 23)) >> 13)


@inner
def from_half(half: np.int64) -> np.float32:
    """The float32 of 16 bits in half precision."""
    size = half & 0x7FFF
    if size < 0x400:
        number = np.float32(size) / _TWO_24
    elif size < 0x7C00:
        number = np.int32((size << 13) + (112 << 23)).view(np.float32)
    else:
        number = np.int32((size << 13) | 0x7F800000).view(np.float32)
    return -number if half & 0x8000 else number


@inner
def halve(value: np.float32, out: Bytes, at: int) -> np.float32:
    """Write ``value`` in half precision to ``out[at:at + 2]``; what is read back from there."""
    half = to_half(value)
    out[at] = half & 0xFF
    out[at + 1] = half >> 8
    return from_half(half)
