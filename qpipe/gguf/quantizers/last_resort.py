"""The types that no other module writes: ggml's own C code."""

from __future__ import annotations

import functools

import numpy as np

from qpipe.gguf import ggml
from qpipe.gguf.quantizers import Bytes, Floats
from qpipe.gguf.types import GGMLType


def quantize(rows: Floats, /, *, imatrix: Floats | None = None, kind: GGMLType) -> Bytes:
    """``rows`` as ``kind``, checked as llama-quantize does (ggml_validate_row_data)."""
    written = ggml.quantize(rows, kind, imatrix=imatrix)
    if not ggml.valid(written, kind):
        worst = float(np.abs(rows).max())
        raise OverflowError(f"weights up to {worst:g} are too large for the scales of {kind.name}")
    return written


_NAMES = (
    *("TQ1_0", "TQ2_0", "IQ4_NL", "IQ4_XS"),
    *("IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"),
    *("MXFP4", "NVFP4", "Q1_0"),
)

_LEGACY = (GGMLType.Q4_0, GGMLType.Q4_1, GGMLType.Q5_0, GGMLType.Q5_1)  # `legacy`

QUANTIZERS = {GGMLType[name]: functools.partial(quantize, kind=GGMLType[name]) for name in _NAMES}


def writes(kind: GGMLType, *, weighted: bool) -> bool:
    """True for what ggml's own C code writes, of rows that are ``weighted`` or not."""
    return kind in QUANTIZERS or (weighted and kind in _LEGACY)
