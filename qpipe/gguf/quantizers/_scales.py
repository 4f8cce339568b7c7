"""What ggml_validate_row_data refuses, for blocks that qpipe wrote itself."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers import Bytes, Floats
from qpipe.gguf.types import GGMLType


def check_scales(scales: Bytes, rows: Floats, kind: GGMLType) -> None:
    """Refuse scales [blocks, 2 bytes each] that are infinite or NaN in half precision.

    `OverflowError`, as llama-quantize refuses them (ggml-quants.c, ggml_validate_row_data).
    """
    if ((scales[:, 1::2] & 0x7C) == 0x7C).any():
        worst = float(np.abs(rows).max())
        raise OverflowError(f"weights up to {worst:g} are too large for the scales of {kind.name}")
