"""Floats of eight and four bits, with how far each group of them reaches: FP8 and MXFP8, NVFP4 and
MXFP4 (`one_byte`, `half_byte`)."""

from __future__ import annotations

import numpy as np

from qpipe.packed.values import half_byte, one_byte, tables
from qpipe.packed.values.base import Ends, Strip, Values, spread

_LEVELS = {"F8_E4M3": tables.E4M3, "F8_E5M2": tables.E5M2, "U8": tables.E2M1}
DTYPES = tuple(_LEVELS)
"""How safetensors stores them; two of four bits share a U8."""


def read(part: Strip) -> Values:
    """Rows of a matrix."""
    kind = part.tensors[part.module.parts[0]].dtype
    layout = half_byte if kind == "U8" else one_byte
    numbers, columns = layout.read(part), part.module.shape[-1]
    known = _LEVELS[kind]
    levels = np.unique(known[np.isfinite(known)])

    def ends() -> Ends:
        grid, wide = layout.scales(part)
        reach = spread(grid * levels[-1], columns, wide)
        return -reach, reach

    return Values(numbers, ends, levels=levels)
