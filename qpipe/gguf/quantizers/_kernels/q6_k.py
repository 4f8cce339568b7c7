"""Q6_K: sixteen sub-blocks of 16, levels -32 … 31, no minimum (ggml-quants.c, quantize_q6_K)."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels import symmetric
from qpipe.gguf.quantizers._kernels.codes import symmetric_codes
from qpipe.gguf.quantizers._kernels.jit import LANES, Bytes, Floats, Kernel, inner
from qpipe.gguf.quantizers._kernels.lanes import loader, squares
from qpipe.gguf.quantizers._kernels.pack import ROW, Words, pack_pairs_of_bits
from qpipe.gguf.quantizers._kernels.rounding import halve, nearest

_SIZE = 16
_SUBS = 16
_BLOCKS = LANES // _SUBS
_SEARCH = symmetric.search(_SIZE, 32, LANES)
_load = loader(_SIZE)
_SCALES, _D = 192, 208
_TOP_SCALE = np.float32(127)
_LOWER, _UPPER = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(4)
_UPPER_HALF = np.uint64(28)
_ZERO = np.float32(0)


@inner
def _scales(sub_scales: Floats, out: Bytes, d: Floats) -> bool:
    """Write a superblock's scales; False if all of it counts as zero, which the C leaves zeroed."""
    extreme = _ZERO
    for scale in sub_scales:
        extreme = scale if np.abs(scale) > np.abs(extreme) else extreme
    if np.abs(extreme) < symmetric.EPSILON:
        out[:] = 0
        return False
    iscale = np.float32(-128) / extreme
    step = halve(np.float32(1) / iscale, out, _D)
    for j in range(_SUBS):
        rounded = nearest(iscale * sub_scales[j])
        level = np.int8(np.int64(rounded if rounded < _TOP_SCALE else _TOP_SCALE))
        out[_SCALES + j] = np.uint8(level)
        d[j] = step * np.float32(level)
    return True


@inner
def _pack(words: Words, block: int, out: Bytes) -> None:
    """Lower four bits, levels 64 apart sharing a byte, per half of 128; then the upper two bits."""
    for half in range(2):
        for i in range(_SIZE):
            lower = words[i * ROW + block * 2 + half] & _LOWER
            lower |= lower >> _UPPER_HALF
            for j in range(4):
                out[half * 64 + j * _SIZE + i] = np.uint8(lower >> np.uint64(8 * j))
    pack_pairs_of_bits(words, block, _SIZE, _UPPER, out[128:])


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`."""

    def q6_k(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        x = np.empty(_SIZE * LANES, np.float32)
        weights = np.empty(_SIZE * LANES, np.float32)
        codes = np.empty(_SIZE * LANES, np.uint8)
        words = codes.view(np.uint64)
        state = np.empty(symmetric.STATE * LANES, np.float32)
        d = np.zeros(LANES, np.float32)
        for first in range(0, len(out), _BLOCKS):
            count = min(_BLOCKS, len(out) - first)
            _load(blocks, first, count, x)
            if weighted:
                _load(importance, first, count, weights)
            else:
                squares(x, weights)
            _SEARCH(x, weights, state)
            alive = np.zeros(_BLOCKS, np.bool_)
            for block in range(count):
                lanes = slice(block * _SUBS, (block + 1) * _SUBS)
                alive[block] = _scales(state[lanes], out[first + block], d[lanes])
            symmetric_codes(x, d, np.float32(32), state, codes)
            for block in range(count):
                if alive[block]:
                    _pack(words, block, out[first + block])

    return q6_k
