"""Blocks of 32 whose weights are whole multiples of a step, as quantization-aware training makes
them: the step that fits, where ggml takes the one that the largest weight suggests.

A checkpoint in BF16 has d·q rounded to eight bits, so each weight is off by 2⁻⁸ of itself at most.
The largest is at a level m that is not known: for each m that is possible the others are tried, and
nearly always the first or second of them tells that it is another. With the levels that fit, the
step is the one of least squares, in half precision as the block keeps it; of several m that fit
(all levels may be even) the one of least error counts, of equal ones the coarsest.

The idea of looking for the lattice of the source: llama.cpp#24603.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qpipe.gguf.quantizers._kernels.blocks import BLOCK, largest, packer, put_half
from qpipe.gguf.quantizers._kernels.jit import Bytes, Floats, Kernel, inner
from qpipe.gguf.quantizers._kernels.rounding import from_half, nearest, to_half

NOTHING, OFF, ON = 0, 1, 2
"""What a block is: zeros alone, off every lattice of the type, on one."""

ROUNDED = 2.0**-8
"""BF16's largest rounding error, relative to a weight."""

# A weight and the largest, by which it is judged, are rounded; a fitted step hardly is.
LOOSE, TIGHT = np.float32(2.1 * ROUNDED), 1.5 * ROUNDED
BETTER = 0.99  # a finer lattice is another one only if it is nearer
_LARGEST_STEP = np.float32(65504)
_ZERO = np.float32(0)

Fit = Callable[[Floats, Floats, Floats, Floats], int]
"""(weights, levels to fill, scratch, [step, minimum] to fill) → what the block is."""

Put = Callable[[Floats, Floats, Bytes], None]
"""(levels, [step, minimum], block to fill)."""


@inner
def half(value: float) -> np.float32:
    """``value`` as half precision has it."""
    return from_half(to_half(np.float32(value)))


@inner
def _assigned(x: Floats, inverse: np.float32, levels: Floats) -> bool:
    """Fill in the nearest levels; False at the first weight that is near none."""
    for j in range(BLOCK):
        scaled = x[j] * inverse
        level = nearest(scaled)
        if not np.abs(scaled - level) <= LOOSE * np.abs(scaled):
            return False
        levels[j] = level
    return True


@inner
def smallest(x: Floats) -> np.float32:
    """The smallest size of a weight that is not zero; infinite if all are."""
    small = np.float32(np.inf)
    for j in range(BLOCK):
        size = np.abs(x[j])
        small = size if (size < small) & (size > _ZERO) else small
    return small


@inner
def least_squares(x: Floats, levels: Floats) -> float:
    """The step by which ``levels``, not all zero, are nearest to the weights."""
    product, square = 0.0, 0.0
    for j in range(BLOCK):
        product += np.float64(x[j]) * np.float64(levels[j])
        square += np.float64(levels[j]) * np.float64(levels[j])
    return product / square


@inner
def _error(x: Floats, step: np.float32, levels: Floats) -> float:
    """The sum of squared errors; infinite if a weight is farther off than rounding takes it."""
    total = 0.0
    for j in range(BLOCK):
        off = np.abs(np.float64(x[j]) - np.float64(step) * np.float64(levels[j]))
        if not off <= TIGHT * np.abs(np.float64(x[j])):
            return np.inf
        total += off * off
    return total


def symmetric(top: int) -> Fit:
    """Levels -``top`` … ``top`` - 1, and zero is one of them."""
    highest = np.float32(top)
    wide = top > 32  # the largest weight's own rounding shifts the largest levels by one

    @inner
    def turned(levels: Floats) -> int:
        """1 for levels that fit as they are, -1 if they do turned around, 0 if neither."""
        high, low = _ZERO, _ZERO
        for j in range(BLOCK):
            high = max(high, levels[j])
            low = min(low, levels[j])
        if high < highest:
            return 1
        return -1 if low > -highest else 0

    @inner
    def fit(x: Floats, levels: Floats, trial: Floats, scale: Floats) -> int:
        size = np.abs(largest(x))
        if size == _ZERO:
            return NOTHING
        ratio = smallest(x) / size
        least, found = np.inf, top + 1
        for m in range(1, top + 1):
            scaled = ratio * np.float32(m)  # of all weights this tells most levels apart
            if not np.abs(scaled - nearest(scaled)) <= LOOSE * scaled:
                continue
            if m % found == 0:  # the same lattice with levels in between that no weight is on
                continue
            if not _assigned(x, np.float32(m) / size, trial):
                continue
            step = least_squares(x, trial)
            if wide and _assigned(x, np.float32(1.0 / step), trial):
                step = least_squares(x, trial)
            sign, rounded = turned(trial), half(step)
            error = _error(x, rounded, trial)
            if sign != 0 and rounded <= _LARGEST_STEP and error < least * BETTER:
                least, found = error, m
                scale[0] = np.float32(sign) * rounded
                for j in range(BLOCK):
                    levels[j] = np.float32(sign) * trial[j]
        return OFF if least == np.inf else ON

    return fit


def nibbles(*, shift: int, fifth_bit: bool, minimum: bool) -> Put:
    """A function that writes a block of levels plus ``shift`` (`blocks.packer`)."""
    pack = packer(at=4 if minimum else 2, fifth_bit=fifth_bit)
    zero = np.float32(shift)

    @inner
    def put(levels: Floats, scale: Floats, out: Bytes) -> None:
        put_half(scale[0], out, 0)
        if minimum:
            put_half(scale[1], out, 2)
        shifted = np.empty(BLOCK, np.uint8)
        for j in range(BLOCK):
            shifted[j] = np.uint8(np.int32(levels[j] + zero))
        pack(shifted, out)

    return put


def refit(fit: Fit, put: Put) -> Kernel:
    """The body of a kernel: a byte that says what a block is, and if it is on a lattice the block
    behind it."""

    @inner
    def blocks_on_lattice(blocks: Floats, importance: Floats, out: Bytes) -> None:
        levels = np.empty(BLOCK, np.float32)
        trial = np.empty(BLOCK, np.float32)
        scale = np.zeros(2, np.float32)
        for block in range(len(out)):
            what = fit(blocks[block * BLOCK : (block + 1) * BLOCK], levels, trial, scale)
            out[block, 0] = what
            if what == ON:
                put(levels, scale, out[block, 1:])

    return blocks_on_lattice
