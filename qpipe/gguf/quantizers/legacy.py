"""Blocks of 32 weights: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, compiled from `_kernels`.

Bit for bit ggml's reference (ggml-quants.c, quantize_row_*_ref) on x86-64. With an importance
matrix all but Q8_0 use another search (quantize_row_*_impl), which is left to ggml's C code.
"""

from __future__ import annotations

import functools

from qpipe.gguf.quantizers import Bytes, Floats, _compiled, last_resort
from qpipe.gguf.types import GGMLType

_SCALES = {
    GGMLType.Q4_0: slice(0, 2),
    GGMLType.Q4_1: slice(0, 4),
    GGMLType.Q5_0: slice(0, 2),
    GGMLType.Q5_1: slice(0, 4),
    GGMLType.Q8_0: slice(0, 2),
}
"""Where a block keeps its scale and minimum in half precision (ggml-common.h, block_q*)."""


def _quantize(rows: Floats, /, *, imatrix: Floats | None = None, kind: GGMLType) -> Bytes:
    if imatrix is not None and kind != GGMLType.Q8_0:
        return last_resort.quantize(rows, imatrix=imatrix, kind=kind)
    return _compiled.quantize(rows, None, kind, scales=_SCALES[kind])


QUANTIZERS = {kind: functools.partial(_quantize, kind=kind) for kind in _SCALES}
