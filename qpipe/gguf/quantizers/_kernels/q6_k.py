"""Q6_K: sixteen sub-blocks of 16, levels -32 … 31, no minimum (ggml-quants.c, quantize_q6_K)."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels import symmetric
from qpipe.gguf.quantizers._kernels.codes import symmetric_codes
from qpipe.gguf.quantizers._kernels.jit import LANES, Bytes, Floats, Kernel, inner
from qpipe.gguf.quantizers._kernels.lanes import load, squares
from qpipe.gguf.quantizers._kernels.rounding import halve, nearest

_SIZE = 16
_SUBS = 16
_BLOCKS = LANES // _SUBS
_SEARCH = symmetric.search(_SIZE, 32, LANES)
_SCALES, _D = 192, 208
_TOP_SCALE = np.float32(127)
_ZERO = np.float32(0)


@inner
def _scales(found: Floats, out: Bytes, d: Floats) -> bool:
    """Write a superblock's scales; False if all of it counts as zero, which the C leaves zeroed."""
    extreme = _ZERO
    for scale in found:
        extreme = scale if np.abs(scale) > np.abs(extreme) else extreme
    if np.abs(extreme) < symmetric.EPSILON:
        out[:] = 0
        return False
    iscale = np.float32(-128) / extreme
    step = halve(np.float32(1) / iscale, out, _D)
    for j in range(_SUBS):
        rounded = nearest(iscale * found[j])
        level = np.int8(np.int64(rounded if rounded < _TOP_SCALE else _TOP_SCALE))
        out[_SCALES + j] = np.uint8(level)
        d[j] = step * np.float32(level)
    return True


@inner
def _pack(codes: Bytes, block: int, out: Bytes) -> None:
    """Halves of 128 levels: lower four bits of 64 bytes, then upper two bits of 32."""
    for half in range(2):
        for i in range(32):
            at = i % _SIZE * LANES + block * _SUBS + half * 8 + i // _SIZE
            q1, q2, q3, q4 = codes[at], codes[at + 2], codes[at + 4], codes[at + 6]
            out[half * 64 + i] = (q1 & 15) | ((q3 & 15) << 4)
            out[half * 64 + i + 32] = (q2 & 15) | ((q4 & 15) << 4)
            upper = (q1 >> 4) | ((q2 >> 4) << 2) | ((q3 >> 4) << 4) | ((q4 >> 4) << 6)
            out[128 + half * 32 + i] = upper


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`."""

    def q6_k(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        x = np.empty(_SIZE * LANES, np.float32)
        weights = np.empty(_SIZE * LANES, np.float32)
        codes = np.empty(_SIZE * LANES, np.uint8)
        state = np.empty(symmetric.STATE * LANES, np.float32)
        d = np.zeros(LANES, np.float32)
        for first in range(0, len(out), _BLOCKS):
            count = min(_BLOCKS, len(out) - first)
            load(blocks, first, count, _SIZE, x)
            if weighted:
                load(importance, first, count, _SIZE, weights)
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
                    _pack(codes, block, out[first + block])

    return q6_k
