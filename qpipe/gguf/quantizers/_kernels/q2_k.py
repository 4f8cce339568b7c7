"""Q2_K: sixteen sub-blocks of 16, levels 0 … 3 (ggml-quants.c, quantize_q2_K)."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels import affine, positive
from qpipe.gguf.quantizers._kernels.affine import STATE, Affine, search
from qpipe.gguf.quantizers._kernels.codes import affine_codes
from qpipe.gguf.quantizers._kernels.jit import LANES, SUPERBLOCK, Bytes, Floats, Kernel, inner
from qpipe.gguf.quantizers._kernels.lanes import importances, loader, sizes, superblock_squares
from qpipe.gguf.quantizers._kernels.pack import pack_pairs_of_bits
from qpipe.gguf.quantizers._kernels.rounding import halve, nearest

_SIZE = 16
_SUBS = 16
_BLOCKS = LANES // _SUBS
_PLAIN = search(Affine(_SIZE, 3, -0.5, 0.1, 15, absolute=True))
_WEIGHTED = search(Affine(_SIZE, 3, -0.9, 0.05, 36, guarded=True))
_load = loader(_SIZE)
_TOP = np.float32(3)
_SCALE_TOP = np.float32(15)
_LEVELS, _D, _D_MIN = 16, 80, 82
_ZERO = np.float32(0)


@inner
def _rounded(values: Floats, levels: Floats) -> np.float32:
    """The largest of ``values`` over 15, and each as a multiple of that."""
    largest = _ZERO
    for value in values:
        largest = value if value > largest else largest
    levels[:] = _ZERO
    if not largest > _ZERO:
        return _ZERO
    inverse = _SCALE_TOP / largest
    for j in range(_SUBS):
        levels[j] = nearest(inverse * values[j])
    return largest / _SCALE_TOP


@inner
def _scales(s: Floats, lane: int, weighted: bool, out: Bytes, d: Floats, minimum: Floats) -> None:
    """Write the scales of the superblock whose first sub-block is ``lane``."""
    scales = np.empty(_SUBS, np.float32)
    minima = np.empty(_SUBS, np.float32)
    sub_scales = s[affine.SCALE + lane : affine.SCALE + lane + _SUBS]
    found_minima = -s[affine.MIN + lane : affine.MIN + lane + _SUBS]
    if weighted:
        weights = s[affine.SUM_W + lane : affine.SUM_W + lane + _SUBS]
        step = positive.fit(sub_scales, weights, _SCALE_TOP, scales)
        step_minimum = positive.fit(found_minima, weights, _SCALE_TOP, minima)
    else:
        step = _rounded(sub_scales, scales)
        step_minimum = _rounded(found_minima, minima)
    step = halve(step, out, _D)
    step_minimum = halve(step_minimum, out, _D_MIN)
    for j in range(_SUBS):
        both = (np.int64(scales[j]) | (np.int64(minima[j]) << 4)) & 0xFF
        out[j] = both
        d[lane + j] = step * np.float32(both & 15)
        minimum[lane + j] = step_minimum * np.float32(both >> 4)


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`."""

    def q2_k(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        x = np.empty(_SIZE * LANES, np.float32)
        weights = np.empty(_SIZE * LANES, np.float32)
        levels = np.empty(_SIZE * LANES, np.float32)
        codes = np.empty(_SIZE * LANES, np.uint8)
        words = codes.view(np.uint64)
        state = np.empty(STATE, np.float32)
        d = np.zeros(LANES, np.float32)
        minimum = np.zeros(LANES, np.float32)
        for first in range(0, len(out), _BLOCKS):
            count = min(_BLOCKS, len(out) - first)
            _load(blocks, first, count, x)
            if weighted:
                _load(importance, first, count, weights)
                superblock_squares(x, _SIZE, d)
                for k in range(LANES):
                    d[k] = d[k] / np.float32(SUPERBLOCK)
                importances(x, _SIZE, d, weights)
                _WEIGHTED(x, weights, levels, state)
            else:
                sizes(x, weights)
                _PLAIN(x, weights, levels, state)
            for block in range(count):
                _scales(state, block * _SUBS, weighted, out[first + block], d, minimum)
            affine_codes(x, d, minimum, _TOP, state, weighted, codes)
            for block in range(count):
                pack_pairs_of_bits(words, block, _SIZE, np.uint64(0), out[first + block, _LEVELS:])

    return q2_k
