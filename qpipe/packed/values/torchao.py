"""torchao's eight bits: signed bytes, a scale for each row, and for some a zero point.

Source: torchao 0.18, quantization/quantize_/workflows/int8/int8_tensor.py, ``dequantize``.
"""

from __future__ import annotations

import numpy as np

from qpipe.packed.values.base import Strip, Values


def read(part: Strip) -> Values:
    """Rows of a matrix."""
    rows = slice(part.first, part.stop)
    scale = part.floats("_weight_scale", rows)
    zero = np.zeros_like(scale)
    if part.has("_weight_zero_point"):
        zero = part.array("_weight_zero_point")[rows].astype(np.float32)
    numbers = scale * (part.array("_weight_qdata")[rows].astype(np.float32) - zero)
    return Values(numbers, lambda: (scale * (-128 - zero), scale * (127 - zero)))
