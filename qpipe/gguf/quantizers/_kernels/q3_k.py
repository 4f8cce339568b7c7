"""Q3_K: sixteen sub-blocks of 16, levels -4 … 3, no minimum (ggml-quants.c, quantize_q3_K)."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels import refined, symmetric
from qpipe.gguf.quantizers._kernels.codes import symmetric_codes
from qpipe.gguf.quantizers._kernels.jit import LANES, SUPERBLOCK, Bytes, Floats, Kernel, inner
from qpipe.gguf.quantizers._kernels.lanes import importances, loader, superblock_squares
from qpipe.gguf.quantizers._kernels.pack import ROW, Words, pack_pairs_of_bits, single_bits
from qpipe.gguf.quantizers._kernels.rounding import halve, nearest, nearest_level

_SIZE = 16
_SUBS = 16
_BLOCKS = LANES // _SUBS
_SEARCH = symmetric.search(_SIZE, 4, LANES)
_SCALE_SEARCH = symmetric.search(_SUBS, 32, _BLOCKS)
_load = loader(_SIZE)
_TOP = np.float32(4)
_SCALE_TOP = np.float32(32)
_LEVELS, _SCALES, _D = 32, 96, 108
_THIRD, _FOUR, _EIGHT = np.uint64(2), np.uint64(4), np.uint64(8)
_ZERO = np.float32(0)
_ONE = np.float32(1)


@inner
def _plain_scales(s: Floats, count: int, levels: Floats, steps: Floats) -> None:
    """Scales over the one of largest size, as levels 0 … 63, and the steps between levels."""
    for block in range(count):
        sub_scales = s[block * _SUBS : (block + 1) * _SUBS]
        extreme = _ZERO
        for scale in sub_scales:
            extreme = scale if np.abs(scale) > np.abs(extreme) else extreme
        iscale = -_SCALE_TOP / extreme
        steps[block] = _ZERO if extreme == _ZERO else _ONE / iscale
        for j in range(_SUBS):
            level = np.float32(np.int8(np.int64(nearest(iscale * sub_scales[j]))))
            level = level if level < _SCALE_TOP - _ONE else _SCALE_TOP - _ONE
            level = level if level > -_SCALE_TOP else -_SCALE_TOP
            levels[block * _SUBS + j] = _ZERO if extreme == _ZERO else level + _SCALE_TOP


@inner
def _weighted_scales(s: Floats, weights: Floats, levels: Floats, steps: Floats) -> None:
    """The same by the search that also looks for the scales themselves."""
    scales = np.empty(LANES, np.float32)
    sums = np.zeros(LANES, np.float32)
    state = np.empty(symmetric.STATE * _BLOCKS, np.float32)
    for k in range(LANES):
        at = k % _SUBS * _BLOCKS + k // _SUBS
        scales[at] = s[k]
        for i in range(k, _SIZE * LANES, LANES):
            sums[at] += weights[i]
    _SCALE_SEARCH(scales, sums, state)
    for block in range(_BLOCKS):
        steps[block] = state[block]
        alive = state[2 * _BLOCKS + block] > _ZERO
        for j in range(_SUBS):
            value = state[_BLOCKS + block] * scales[j * _BLOCKS + block]
            level = nearest_level(value, -_SCALE_TOP, _SCALE_TOP - _ONE) + _SCALE_TOP
            levels[block * _SUBS + j] = level if alive else _ZERO


@inner
def _pack_scales(levels: Floats, step: np.float32, out: Bytes, d: Floats) -> None:
    """Lower four bits two sub-blocks a byte, upper two bits four a byte."""
    out[_SCALES : _SCALES + 12] = 0
    step = halve(step, out, _D)
    for j in range(_SUBS):
        level = np.int64(levels[j])
        out[_SCALES + j % 8] |= (level & 15) << (4 * (j // 8))
        out[_SCALES + 8 + j % 4] |= (level >> 4) << (2 * (j // 4))
        d[j] = step * np.float32(level - 32)


@inner
def _pack_third_bits(words: Words, block: int, out: Bytes) -> None:
    """Pack the third bits of sub-blocks 0, 2, 4 … into bytes 0 … 15, those of sub-blocks 1, 3, 5 …
    into 16 … 31."""
    for i in range(_SIZE):
        low = single_bits(words[i * ROW + 2 * block] >> _THIRD)
        bits = low | (single_bits(words[i * ROW + 2 * block + 1] >> _THIRD) << _FOUR)
        out[i] = np.uint8(bits)
        out[_SIZE + i] = np.uint8(bits >> _EIGHT)


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`."""

    def q3_k(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        x = np.empty(_SIZE * LANES, np.float32)
        scratch: Floats = np.empty(_SIZE * LANES, np.float32)
        codes = np.empty(_SIZE * LANES, np.uint8)
        words = codes.view(np.uint64)
        state = np.empty(symmetric.STATE * LANES, np.float32)
        d = np.zeros(LANES, np.float32)
        levels = np.empty(LANES, np.float32)
        steps = np.empty(_BLOCKS, np.float32)
        for first in range(0, len(out), _BLOCKS):
            count = min(_BLOCKS, len(out) - first)
            _load(blocks, first, count, x)
            if weighted:
                _load(importance, first, count, scratch)
                superblock_squares(x, _SIZE, d)
                for k in range(LANES):
                    d[k] = np.float32(2) * d[k] / np.float32(SUPERBLOCK)
                importances(x, _SIZE, d, scratch)
                _SEARCH(x, scratch, state)
                _weighted_scales(state, scratch, levels, steps)
            else:
                scratch = refined.search(x, scratch, state)
                _plain_scales(state, count, levels, steps)
            for block in range(count):
                lanes = slice(block * _SUBS, (block + 1) * _SUBS)
                _pack_scales(levels[lanes], steps[block], out[first + block], d[lanes])
            if weighted:
                symmetric_codes(x, d, _TOP, state, codes)
            else:
                refined.codes(x, d, scratch, state, codes)
            for block in range(count):
                _pack_third_bits(words, block, out[first + block])
                pack_pairs_of_bits(words, block, _SIZE, np.uint64(0), out[first + block, _LEVELS:])

    return q3_k
