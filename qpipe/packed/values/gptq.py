"""GPTQ: columns packed into the words of ``qweight``, rows into those of ``qzeros``.

The first layout stores zero points less one, and readers add it to the packed words
(GPTQModel 7.6.0, utils/model.py, ``convert_gptq_v1_to_v2_format_module``; Marlin likewise).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def in_planes(config: Mapping[str, Any]) -> bool:
    """True of GPTQModel's layout gptq_p, which is not read here: the low bits of values lie apart
    from the high ones."""
    return "gptq_p" in (config.get("checkpoint_format"), config.get("format"))


def read(part: Strip) -> Values:
    """Rows of a matrix."""
    bits, rows = int(part.module.bits), slice(part.first, part.stop)
    columns, n = part.module.shape[1], part.stop - part.first
    weights = unpacked(part.array("qweight")[:, rows].T, bits, columns)
    zeros = _zeros(part, bits, n).T
    scales = part.scales("scales", (slice(None), rows)).T
    groups = _groups(part, columns, scales.shape[1])
    if np.array_equal(groups, np.arange(columns) // -(-columns // scales.shape[1])):
        size = -(-columns // scales.shape[1])
        numbers = scaled(less(weights, zeros, size), scales, size)
    else:
        numbers = (weights - zeros[:, groups]) * scales[:, groups]

    def ends() -> Ends:
        zero, scale = zeros[:, groups], scales[:, groups]
        return scale * -zero, scale * (2**bits - 1 - zero)

    order = None if (np.diff(groups) >= 0).all() else np.argsort(groups, kind="stable")
    return Values(numbers, ends, order)


def _zeros(part: Strip, bits: int, n: int) -> FloatArray:
    """[groups, n]."""
    packed = part.array("qzeros")
    words = packed[:, part.first * bits // 32 : -(-part.stop * bits // 32)].view(np.uint32)
    if not _less_one(part):
        return unpacked(words, bits, n)
    if bits == 3:  # values lie across the ends of words: each by itself
        return np.fmod(unpacked(words, bits, n) + 1, 8)
    # GPTQModel 7.6.0 and Marlin add 1 to the words: the largest zero point carries into the next.
    return unpacked(words + np.uint32(sum(1 << at for at in range(0, 32, bits))), bits, n)


def _less_one(part: Strip) -> bool:
    config = part.config
    if config.get("quant_method") == "auto-round":
        return "auto_gptq" in str(config.get("packing_format"))
    return "gptq_v2" not in (config.get("checkpoint_format"), config.get("format"))


def _groups(part: Strip, columns: int, count: int) -> IntArray:
    """The group of each column."""
    if part.has("g_idx"):
        return np.asarray(part.array("g_idx")[:columns], np.int64)
    size = part.module.group_size or -1
    return np.arange(columns) // (columns if size == -1 or count == 1 else size)
