"""Q5_K: eight sub-blocks of 32, levels 0 … 31 (ggml-quants.c, quantize_q5_K)."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels import scales6
from qpipe.gguf.quantizers._kernels.affine import STATE, Affine, search
from qpipe.gguf.quantizers._kernels.codes import affine_codes
from qpipe.gguf.quantizers._kernels.jit import LANES, Bytes, Floats, Kernel, inner
from qpipe.gguf.quantizers._kernels.lanes import load
from qpipe.gguf.quantizers._kernels.weights import SIZE, importance_weights, plain_weights

_PLAIN = search(Affine(SIZE, 31, -0.5, 0.1, 15))
_WEIGHTED = search(Affine(SIZE, 31, -0.9, 0.05, 36, guarded=True))
_TOP = np.float32(31)
_BLOCKS = LANES // scales6.SUBS


@inner
def _pack(codes: Bytes, block: int, out: Bytes) -> None:
    """Fifth bits, eight sub-blocks a byte, then the lower four, two sub-blocks a byte."""
    for i in range(SIZE):
        row = codes[i * LANES + block * scales6.SUBS : i * LANES + (block + 1) * scales6.SUBS]
        fifth = 0
        for j in range(scales6.SUBS):
            fifth |= (row[j] >> 4) << j
        out[16 + i] = fifth
        for pair in range(4):
            out[48 + pair * SIZE + i] = (row[2 * pair] & 15) | ((row[2 * pair + 1] & 15) << 4)


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`."""

    def q5_k(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        x = np.empty(SIZE * LANES, np.float32)
        weights = np.empty(SIZE * LANES, np.float32)
        levels = np.empty(SIZE * LANES, np.float32)
        codes = np.empty(SIZE * LANES, np.uint8)
        state = np.empty(STATE, np.float32)
        d = np.empty(LANES, np.float32)
        minimum = np.empty(LANES, np.float32)
        for first in range(0, len(out), _BLOCKS):
            count = min(_BLOCKS, len(out) - first)
            load(blocks, first, count, SIZE, x)
            if weighted:
                load(importance, first, count, SIZE, weights)
                importance_weights(x, d, weights)
                _WEIGHTED(x, weights, levels, state)
            else:
                plain_weights(x, d, weights)
                _PLAIN(x, weights, levels, state)
            scales6.write(state, count, weighted, True, out[first:], d, minimum)
            affine_codes(x, d, minimum, _TOP, state, weighted, codes)
            for block in range(count):
                _pack(codes, block, out[first + block])

    return q5_k
