"""Blocks of 32 weights with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, through the gguf package.

gguf/quants.py does the arithmetic of ggml's reference (ggml-quants.c, quantize_row_*_ref) in
numpy. It differs in the sign of zeros alone, which is put right here: ggml's loops keep the first
of several equal extremes, numpy's reductions any of them. With an importance matrix all but Q8_0
use another search (quantize_row_*_impl), which is left to ggml's C code.
"""

from __future__ import annotations

import numpy as np
from gguf import GGMLQuantizationType, quants

from qpipe.gguf.quantizers import Bytes, Floats, Quantizer, last_resort
from qpipe.gguf.quantizers._scales import check_scales
from qpipe.gguf.types import GGMLType


def _with_scale(kind: GGMLType) -> Quantizer:
    def quantize(rows: Floats, /, *, imatrix: Floats | None = None) -> Bytes:
        if imatrix is not None and kind != GGMLType.Q8_0:
            return last_resort.quantize(rows, imatrix=imatrix, kind=kind)
        # ggml's maximum starts at +0, so a block of zeros of either sign has the scale of +0.
        # Denormal and huge weights overflow on the way, in the C as here, to the same bytes.
        with np.errstate(all="ignore"):
            written: Bytes = quants.quantize(rows + np.float32(0), GGMLQuantizationType[kind.name])
        check_scales(written.reshape(-1, kind.value[2])[:, :2], rows, kind)
        return written

    return quantize


def _with_minimum(kind: GGMLType) -> Quantizer:
    scaled = _with_scale(kind)

    def quantize(rows: Floats, /, *, imatrix: Floats | None = None) -> Bytes:
        written = scaled(rows, imatrix=imatrix)
        if imatrix is not None:
            return written
        blocks = rows.reshape(-1, kind.block)
        zero = np.flatnonzero(blocks.min(axis=1) == 0)
        first = (blocks[zero] == 0).argmax(axis=1)
        negative = zero[np.signbit(blocks[zero, first])]
        # Bytes 2 and 3 of a block are its minimum in F16.
        written.reshape(len(blocks), -1)[negative, 3] |= 0x80
        check_scales(written.reshape(len(blocks), -1)[:, 2:4], rows, kind)
        return written

    return quantize


QUANTIZERS = {kind: _with_scale(kind) for kind in (GGMLType.Q4_0, GGMLType.Q5_0, GGMLType.Q8_0)} | {
    kind: _with_minimum(kind) for kind in (GGMLType.Q4_1, GGMLType.Q5_1)
}
