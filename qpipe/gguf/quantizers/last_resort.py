"""The types that no other module writes, and that need no importance matrix: ggml's own C code."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from qpipe.gguf import ggml
from qpipe.gguf.types import GGMLType


def _quantize(rows: npt.NDArray[np.float32], *, kind: GGMLType) -> npt.NDArray[np.uint8]:
    written = ggml.quantize(rows, kind)
    if not ggml.valid(written, kind):
        worst = float(np.abs(rows).max())
        raise OverflowError(f"weights up to {worst:g} are too large for the scales of {kind.name}")
    return written


_NAMES = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "IQ3_S", "TQ1_0", "TQ2_0"]

QUANTIZERS = {GGMLType[name]: functools.partial(_quantize, kind=GGMLType[name]) for name in _NAMES}
