"""Q4_K: eight sub-blocks of 32, levels 0 … 15 (ggml-quants.c, quantize_q4_K)."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels import scales6
from qpipe.gguf.quantizers._kernels.affine import STATE, Affine, search
from qpipe.gguf.quantizers._kernels.codes import affine_codes
from qpipe.gguf.quantizers._kernels.jit import LANES, Bytes, Floats, Kernel, inner
from qpipe.gguf.quantizers._kernels.lanes import loader
from qpipe.gguf.quantizers._kernels.pack import ROW, Words, nibbles
from qpipe.gguf.quantizers._kernels.weights import SIZE, importance_weights, plain_weights

_PLAIN = search(Affine(SIZE, 15, -1.0, 0.1, 20))
_WEIGHTED = search(Affine(SIZE, 15, -0.9, 0.05, 36, guarded=True))
_load = loader(SIZE)
_TOP = np.float32(15)
_BLOCKS = LANES // scales6.SUBS


@inner
def _pack(words: Words, block: int, out: Bytes) -> None:
    """Two levels a byte: those of a sub-block below those of the next."""
    for i in range(SIZE):
        both = nibbles(words[i * ROW + block])
        for pair in range(4):
            out[16 + pair * SIZE + i] = np.uint8(both >> np.uint64(16 * pair))


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`."""

    def q4_k(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        x = np.empty(SIZE * LANES, np.float32)
        weights = np.empty(SIZE * LANES, np.float32)
        levels = np.empty(SIZE * LANES, np.float32)
        codes = np.empty(SIZE * LANES, np.uint8)
        words = codes.view(np.uint64)
        state = np.empty(STATE, np.float32)
        d = np.empty(LANES, np.float32)
        minimum = np.empty(LANES, np.float32)
        for first in range(0, len(out), _BLOCKS):
            count = min(_BLOCKS, len(out) - first)
            _load(blocks, first, count, x)
            if weighted:
                _load(importance, first, count, weights)
                importance_weights(x, d, weights)
                _WEIGHTED(x, weights, levels, state)
            else:
                plain_weights(x, d, weights)
                _PLAIN(x, weights, levels, state)
            scales6.write(state, count, weighted, False, out[first:], d, minimum)
            affine_codes(x, d, minimum, _TOP, state, weighted, codes)
            for block in range(count):
                _pack(words, block, out[first + block])

    return q4_k
