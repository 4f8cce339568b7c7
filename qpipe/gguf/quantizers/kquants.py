"""Superblocks of 256 weights with scales of their own: Q2_K … Q6_K, compiled from `_kernels`.

Bit for bit what ggml's C writes on x86-64. A kernel is compiled when the first tensor of its type
comes, which takes seconds, and from then on read from numba's cache.
"""

from __future__ import annotations

import functools

from qpipe.gguf.quantizers import Bytes, Floats, _compiled
from qpipe.gguf.types import GGMLType

_SCALES = {
    GGMLType.Q2_K: slice(80, 84),
    GGMLType.Q3_K: slice(108, 110),
    GGMLType.Q4_K: slice(0, 4),
    GGMLType.Q5_K: slice(0, 4),
    GGMLType.Q6_K: slice(208, 210),
}
"""Where a superblock keeps its scales in half precision (ggml-common.h, block_q*_K)."""


def _quantize(rows: Floats, /, *, imatrix: Floats | None = None, kind: GGMLType) -> Bytes:
    return _compiled.quantize(rows, imatrix, kind, scales=_SCALES[kind])


QUANTIZERS = {kind: functools.partial(_quantize, kind=kind) for kind in _SCALES}
