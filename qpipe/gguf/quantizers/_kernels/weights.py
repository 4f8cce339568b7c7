"""How much each weight of a sub-block of 32 counts in the search: Q4_K and Q5_K.

Source: ggml-quants.c, quantize_row_q4_K_ref and quantize_row_q4_K_impl.
"""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels.jit import LANES, SUPERBLOCK, Floats, inner
from qpipe.gguf.quantizers._kernels.lanes import importances, sub_block_squares, superblock_squares

SIZE = 32
_SIZE = np.float32(SIZE)
_SUPERBLOCK = np.float32(SUPERBLOCK)
_TWO = np.float32(2)


@inner
def plain_weights(x: Floats, scratch: Floats, weights: Floats) -> None:
    """√(mean of x² in the sub-block) + |x|; ``scratch`` is a row of lanes."""
    sub_block_squares(x, SIZE, scratch)
    for k in range(LANES):
        scratch[k] = np.sqrt(scratch[k] / _SIZE)
    for i in range(0, SIZE * LANES, LANES):
        xs = x[i : i + LANES]
        out = weights[i : i + LANES]
        for k in range(LANES):
            out[k] = scratch[k] + np.abs(xs[k])


@inner
def importance_weights(x: Floats, scratch: Floats, weights: Floats) -> None:
    """Importance · √(twice the mean of x² in the superblock + x²), in place of the importances."""
    superblock_squares(x, SIZE, scratch)
    for k in range(LANES):
        scratch[k] = _TWO * scratch[k] / _SUPERBLOCK
    importances(x, SIZE, scratch, weights)
