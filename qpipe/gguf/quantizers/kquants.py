"""Superblocks of 256 weights with scales of their own: Q2_K … Q6_K, compiled from `_kernels`.

Bit for bit what ggml's C writes on x86-64. A kernel is compiled when the first tensor of its type
comes, which takes seconds, and from then on read from numba's cache.
"""

from __future__ import annotations

import functools
import importlib

import numpy as np

from qpipe.gguf.quantizers import Bytes, Floats
from qpipe.gguf.quantizers._scales import check_scales
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
    # numba is slow to import: only where it is needed.
    from qpipe.gguf.quantizers._kernels import jit

    module = importlib.import_module(f"{jit.__package__}.{kind.name.lower()}")
    kernel = jit.kernel(module.build, weighted=imatrix is not None)
    _, block, block_bytes = kind.value
    out = np.empty((rows.size // block, block_bytes), np.uint8)
    importance = np.empty(0, np.float32) if imatrix is None else imatrix
    assert imatrix is None or imatrix.shape == rows.shape[1:], (imatrix.shape, rows.shape)
    kernel(
        np.ascontiguousarray(rows, np.float32).reshape(-1),
        np.ascontiguousarray(importance, np.float32),
        out,
    )
    check_scales(out[:, _SCALES[kind]], rows, kind)
    return out.reshape(len(rows), kind.row_bytes(rows.shape[1]))


QUANTIZERS = {kind: functools.partial(_quantize, kind=kind) for kind in _SCALES}
