"""compressed-tensors' integers: in words of their own, moved to begin at 0, or as signed bytes.

Source: compressed_tensors 0.19, compressors/pack_quantized, ``unpack_from_int32``. Columns in
another order (``weight_g_idx``) are those of versions before: each has the scale of its group.
"""

from __future__ import annotations

import numpy as np

from qpipe.packed.values.base import (
    Ends,
    FloatArray,
    IntArray,
    Strip,
    Values,
    less,
    scaled,
    unpacked,
)


def read(part: Strip) -> Values:
    """Rows of a matrix."""
    bits, columns = int(part.module.bits), part.module.shape[1]
    half, rows = 2 ** (bits - 1), slice(part.first, part.stop)
    if part.has("weight_packed"):
        weights = unpacked(part.array("weight_packed")[rows], bits, columns)
        weights -= half
    else:
        weights = part.array("weight")[rows].astype(np.float32)
    scales = part.row_scales("weight_scale")
    zeros, groups = _zeros(part, scales), _groups(part, columns, scales.shape[1])
    size = _size(part, columns, scales.shape[1])
    ordered = bool((np.diff(groups) >= 0).all())
    if np.array_equal(groups, np.arange(columns) // size):
        numbers = scaled(less(weights, zeros, size), scales, size)
    else:
        numbers = (weights - zeros[:, groups]) * scales[:, groups]

    def ends() -> Ends:
        zero, scale = zeros[:, groups], scales[:, groups]
        return scale * (-half - zero), scale * (half - 1 - zero)

    return Values(numbers, ends, None if ordered else np.argsort(groups, kind="stable"))


def _zeros(part: Strip, scales: FloatArray) -> FloatArray:
    """[n, groups]."""
    if not part.has("weight_zero_point"):
        return np.zeros_like(scales)
    bits, n = int(part.module.bits), part.stop - part.first
    stored = part.array("weight_zero_point")
    if not part.has("weight_packed"):
        return part.row_values("weight_zero_point")
    words = stored[part.first * bits // 32 : -(-part.stop * bits // 32)]
    return unpacked(words.T, bits, n).T - np.float32(2 ** (bits - 1))


def _groups(part: Strip, columns: int, count: int) -> IntArray:
    """The group of each column."""
    if part.has("weight_g_idx"):
        return np.asarray(part.array("weight_g_idx"), np.int64)
    return np.arange(columns) // _size(part, columns, count)


def _size(part: Strip, columns: int, count: int) -> int:
    size = part.module.group_size or -1
    return size if size > 0 and count > 1 else -(-columns // count)
