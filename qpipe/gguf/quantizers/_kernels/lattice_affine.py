"""Blocks of 32 that lie on a lattice whose lowest level is any number: Q4_1 and Q5_1.

The lowest weight is level zero and the highest level m, which is not known, as in `lattice`. Where
zero is a level of the lattice too, as in checkpoints with zero points, the minimum is a whole
number of steps.
"""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels import lattice
from qpipe.gguf.quantizers._kernels.blocks import BLOCK, highest, lowest
from qpipe.gguf.quantizers._kernels.jit import Floats, inner
from qpipe.gguf.quantizers._kernels.lattice import BETTER, NOTHING, OFF, ON, ROUNDED, half
from qpipe.gguf.quantizers._kernels.rounding import nearest

_N = np.float64(BLOCK)
_LOOSE, _ALL = np.float32(1.05 * ROUNDED), np.float32(0.25)
_WHOLE = 0.1  # of a step: how far from a level zero may seem to be
_ZERO, _ONE = np.float32(0), np.float32(1)


@inner
def _assigned(x: Floats, low: np.float32, high: np.float32, m: int, levels: Floats) -> bool:
    """Fill in the nearest levels; False at the first weight that is near none, or so rounded that
    it would be near any."""
    inverse = np.float32(m) / (high - low)
    ends = np.abs(low) + np.abs(high)
    for j in range(BLOCK):
        scaled = (x[j] - low) * inverse
        level = nearest(scaled)
        rounded = np.abs(x[j]) + np.abs(low) + scaled / np.float32(m) * ends
        near = _LOOSE * rounded * inverse
        if not (near < _ALL and np.abs(scaled - level) <= near):
            return False
        levels[j] = level
    return True


@inner
def _error(x: Floats, scale: Floats, levels: Floats) -> float:
    """The sum of squared errors; infinite if a weight is farther off than rounding takes it."""
    total = 0.0
    step, low = np.float64(scale[0]), np.float64(scale[1])
    for j in range(BLOCK):
        value = np.float64(x[j])
        off = np.abs(value - (step * np.float64(levels[j]) + low))
        if not off <= ROUNDED * (1.5 * np.abs(value) + 0.5 * np.abs(low)):
            return np.inf
        total += off * off
    return total


@inner
def _fitted(x: Floats, levels: Floats, scale: Floats) -> float:
    """Step and minimum of least squares, each rounded; the step without rounding."""
    sum_x, sum_q, sum_xq, sum_qq = 0.0, 0.0, 0.0, 0.0
    for j in range(BLOCK):
        value, level = np.float64(x[j]), np.float64(levels[j])
        sum_x += value
        sum_q += level
        sum_xq += value * level
        sum_qq += level * level
    step = (sum_xq - sum_x * sum_q / _N) / (sum_qq - sum_q * sum_q / _N)
    scale[1] = half((sum_x - step * sum_q) / _N)
    scale[0] = half((sum_xq - np.float64(scale[1]) * sum_q) / sum_qq)
    return step


@inner
def _through_zero(x: Floats, levels: Floats, room: int, step: float, scale: Floats) -> bool:
    """Step and minimum so that zero is a level; False where it is none.

    Levels are shifted by up to ``room`` if the minimum is then exact in half precision.
    """
    below = -np.float64(scale[1]) / step
    zero = np.float64(nearest(np.float32(below)))
    if not np.abs(below - zero) < _WHOLE:
        return False
    product, square = 0.0, 0.0
    for j in range(BLOCK):
        level = np.float64(levels[j]) - zero
        product += np.float64(x[j]) * level
        square += level * level
    scale[0] = half(product / square)
    shift = 0
    for more in range(room + 1):
        minimum = -(zero + more) * np.float64(scale[0])
        if np.float64(half(minimum)) == minimum:
            shift = more
            break
    scale[1] = half(-(zero + shift) * np.float64(scale[0]))
    for j in range(BLOCK):
        levels[j] += np.float32(shift)
    return True


def affine(top: int) -> lattice.Fit:
    """Levels 0 … ``top`` above a minimum."""

    @inner
    def fit(x: Floats, levels: Floats, trial: Floats, scale: Floats) -> int:
        low, high = lowest(x), highest(x)
        if low == high:
            return NOTHING if low == _ZERO else OFF
        least, found = np.inf, top + 1
        tried = np.empty(2, np.float32)
        for m in range(1, top + 1):
            if m % found == 0 or not _assigned(x, low, high, m, trial):
                continue
            step = _fitted(x, trial, tried)
            error = _error(x, tried, trial)
            if error < least * BETTER:
                least, found = error, m
                scale[:] = tried
                levels[:] = trial
            if _through_zero(x, trial, top - m, step, tried):
                error = _error(x, tried, trial)
                if error < least:
                    least, found = error, m
                    scale[:] = tried
                    levels[:] = trial
        return OFF if least == np.inf else ON

    return fit
