"""Blocks of 32 weights with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, through the gguf package.

gguf/quants.py does ggml's reference arithmetic in numpy, bit for bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, quants

from qpipe.gguf.quantizers import Quantizer
from qpipe.gguf.types import GGMLType


def _through_gguf(kind: GGMLType) -> Quantizer:
    def quantize(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        written: npt.NDArray[np.uint8] = quants.quantize(rows, GGMLQuantizationType[kind.name])
        return written

    return quantize


QUANTIZERS = {
    kind: _through_gguf(kind)
    for kind in (GGMLType.Q4_0, GGMLType.Q4_1, GGMLType.Q5_0, GGMLType.Q5_1, GGMLType.Q8_0)
}
