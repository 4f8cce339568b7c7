"""Superblocks of 256 whose sub-blocks of 32 lie on lattices: Q4_K, Q5_K and Q6_K.

Their steps are whole multiples of one number in half precision, so the steps of lattices that
differ within a superblock are met up to a fraction of that: exactly where they are one (a scale a
row), else to some thousandths. A sub-block may also take a half, a third or a quarter of its step,
with levels in between that no weight is on, where that is nearer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qpipe.gguf.quantizers._kernels import lattice
from qpipe.gguf.quantizers._kernels.blocks import BLOCK, put_half
from qpipe.gguf.quantizers._kernels.jit import SUPERBLOCK, Bytes, Floats, Kernel, inner
from qpipe.gguf.quantizers._kernels.lattice import NOTHING, OFF, ON, half
from qpipe.gguf.quantizers._kernels.rounding import nearest

SUBS = SUPERBLOCK // BLOCK
_FINEST = 4  # parts of a step, at most
_TRIES = 128  # scales of a superblock, evenly apart, the last about half of the first
_OFF, _EXACT = 1e-4, 1e-8  # squared error of steps, by the squares of weights: at most, and enough
_ZERO = np.float32(0)

Put = Callable[[Floats, Floats, np.float32, Bytes], None]
"""(levels [256], scales of sub-blocks [8], the superblock's scale, block to fill)."""


@inner
def _parts(levels: Floats, top: int) -> int:
    """The number of parts that a step can have so that no level is beyond -top … top - 1."""
    high, low = _ZERO, _ZERO
    for level in levels:
        high = max(high, level)
        low = min(low, level)
    parts = _FINEST
    while parts > 1 and (high * parts > top - 1 or low * parts < -top):
        parts -= 1
    return parts


@inner
def _nearest_parts(step: float, d: float, parts: int, most: int) -> tuple[int, float]:
    """The number of parts and the relative error with which a step is a multiple of ``d``."""
    best, least = 1, np.inf
    for number in range(1, parts + 1):
        scale = np.float64(nearest(np.float32(step / (number * d))))
        if 1 <= scale <= most:
            off = np.abs(scale * number * d / step - 1)
            if off < least:
                best, least = number, off
    return best, least


def refit(top: int, most: int, put: Put) -> Kernel:
    """The body of a kernel, as `lattice.refit`'s: levels -``top`` … ``top`` - 1, scales of
    sub-blocks up to ``most``."""
    signed = top == 32
    fit = lattice.symmetric(top)

    @inner
    def squared_error(
        d: float, steps: Floats, sizes: Floats, parts: Bytes, least: float
    ) -> np.float64:
        """The error of steps as multiples of ``d``; at least ``least`` where it is no better."""
        error = np.float64(0)
        for sub in range(SUBS):
            if steps[sub] > _ZERO and error < least:
                off = _nearest_parts(np.float64(steps[sub]), d, parts[sub], most)[1]
                error = error + np.float64(sizes[sub]) * off * off
        return error

    @inner
    def chosen(steps: Floats, sizes: Floats, parts: Bytes) -> np.float32:
        """The superblock's scale of which the steps are nearly multiples; 0 if there is none."""
        largest, size = np.float64(steps.max()), np.float64(sizes.sum())
        best, least = 0.0, _OFF * size
        for number in range(_TRIES):
            d = largest / most * (1.0 + number / _TRIES)
            error = squared_error(d, steps, sizes, parts, least)
            if error < least:
                best, least = d, error
            if least <= _EXACT * size:
                break
        return half(best)

    @inner
    def superblock(x: Floats, levels: Floats, scales: Floats, out: Bytes) -> int:
        trial, found = np.empty(BLOCK, np.float32), np.empty(2, np.float32)
        steps, sizes = np.zeros(SUBS, np.float32), np.zeros(SUBS, np.float32)
        signs, parts = np.ones(SUBS, np.float32), np.ones(SUBS, np.uint8)
        on = False
        levels[:] = _ZERO
        for sub in range(SUBS):
            place = slice(sub * BLOCK, (sub + 1) * BLOCK)
            what = fit(x[place], levels[place], trial, found)
            if what == OFF or (what == ON and found[0] < _ZERO and not signed):
                return OFF
            if what == ON:
                on = True
                steps[sub] = np.abs(found[0])
                signs[sub] = np.float32(1 if found[0] > _ZERO else -1)
                parts[sub] = _parts(levels[place], top)
                for value in x[place]:
                    sizes[sub] += value * value
        if not on:
            return NOTHING
        d = chosen(steps, sizes, parts)
        if not _ZERO < d < np.inf:
            return OFF
        for sub in range(SUBS):
            scales[sub] = _ZERO
            if steps[sub] == _ZERO:
                continue
            step = np.float64(steps[sub])
            number = _nearest_parts(step, np.float64(d), parts[sub], most)[0]
            scales[sub] = signs[sub] * nearest(np.float32(step / (number * np.float64(d))))
            for i in range(sub * BLOCK, (sub + 1) * BLOCK):
                levels[i] *= np.float32(number)
        put(levels, scales, d, out)
        return ON

    @inner
    def superblocks_on_lattice(blocks: Floats, importance: Floats, out: Bytes) -> None:
        levels = np.empty(SUPERBLOCK, np.float32)
        scales = np.empty(SUBS, np.float32)
        for block in range(len(out)):
            x = blocks[block * SUPERBLOCK : (block + 1) * SUPERBLOCK]
            out[block, 0] = superblock(x, levels, scales, out[block, 1:])

    return superblocks_on_lattice


@inner
def put_scales(scales: Floats, d: np.float32, zero: int, out: Bytes) -> None:
    """Write the scales of Q4_K and Q5_K, with minima by which level ``zero`` is zero.

    A minimum is ``zero`` scales: the superblock's own number is so many times as large, exactly.
    """
    from_here = out[4:16]
    for j in range(4):
        low, high = np.int64(scales[j]), np.int64(scales[j + 4])
        from_here[j] = low | (high >> 4) << 6
        from_here[j + 4] = low | (high >> 4) << 6
        from_here[j + 8] = (high & 15) | (high & 15) << 4
    put_half(d, out, 0)
    put_half(np.float32(zero) * d, out, 2)
