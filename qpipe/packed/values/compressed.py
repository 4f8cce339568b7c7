"""compressed-tensors' integers: in words of their own, moved to begin at 0, or as signed bytes.

Source: compressed_tensors 0.19, compressors/pack_quantized, ``unpack_from_int32``.
"""

from __future__ import annotations

import numpy as np

from qpipe.packed.values.base import FloatArray, IntArray, Strip, Values, unpacked


def read(part: Strip) -> Values:
    """Rows of a matrix."""
    bits, columns = int(part.module.bits), part.module.shape[1]
    half, rows = 2 ** (bits - 1), slice(part.first, part.stop)
    if part.has("weight_packed"):
        weights = unpacked(part.array("weight_packed")[rows], bits, columns) - half
    else:
        weights = part.array("weight")[rows].astype(np.float32)
    scales = part.floats("weight_scale", rows)
    groups = _groups(part, columns, scales.shape[1])
    scale, zero = scales[:, groups], _zeros(part, scales)[:, groups]
    ends = [scale * (end - zero) for end in (-half, half - 1)]
    order = None if (np.diff(groups) >= 0).all() else np.argsort(groups, kind="stable")
    return Values(scale * (weights - zero), ends[0], ends[1], order)


def _zeros(part: Strip, scales: FloatArray) -> FloatArray:
    """[n, groups]."""
    if not part.has("weight_zero_point"):
        return np.zeros_like(scales)
    bits, n = int(part.module.bits), part.stop - part.first
    stored = part.array("weight_zero_point")
    if not part.has("weight_packed"):
        return np.asarray(stored[part.first : part.stop], np.float32)
    words = stored[part.first * bits // 32 : -(-part.stop * bits // 32)]
    return unpacked(words.T, bits, n).T - np.float32(2 ** (bits - 1))


def _groups(part: Strip, columns: int, count: int) -> IntArray:
    """The group of each column."""
    if part.has("weight_g_idx"):
        return np.asarray(part.array("weight_g_idx"), np.int64)
    return np.arange(columns) // -(-columns // count)
