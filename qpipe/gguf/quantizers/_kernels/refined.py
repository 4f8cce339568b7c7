"""The search for one scale per sub-block by changing one level at a time: plain Q3_K.

Source: ggml-quants.c, make_q3_quants.
"""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels.jit import LANES, UNROLLED, Bytes, Floats, inner
from qpipe.gguf.quantizers._kernels.rounding import nearest_level
from qpipe.gguf.quantizers._kernels.symmetric import EPSILON

_LOW, _HIGH = np.float32(-4), np.float32(3)
_ZERO = np.float32(0)
_ONE = np.float32(1)
_TRIES = 5
_TRIP = UNROLLED * LANES

# Rows of the state.
SCALE = 0 * LANES
ALIVE = 1 * LANES  # 0 for a sub-block that counts as zero
_EXTREME = 2 * LANES
_SUM_LX = 3 * LANES
_SUM_L2 = 4 * LANES
_CHANGED = 5 * LANES
STATE = 6 * LANES


@inner
def _start(x: Floats, levels: Floats, s: Floats) -> None:
    for k in range(LANES):
        s[_EXTREME + k] = _ZERO
        s[_SUM_LX + k] = _ZERO
        s[_SUM_L2 + k] = _ZERO
    for i in range(0, x.size, _TRIP):
        xs = x[i : i + _TRIP]
        for k in range(LANES):
            largest = s[_EXTREME + k]
            for j in range(UNROLLED):
                value = xs[j * LANES + k]
                largest = value if np.abs(value) > np.abs(largest) else largest
            s[_EXTREME + k] = largest
    for k in range(LANES):
        s[ALIVE + k] = _ZERO if np.abs(s[_EXTREME + k]) < EPSILON else _ONE
        s[_EXTREME + k] = _LOW / s[_EXTREME + k]
    for i in range(0, x.size, LANES):
        xs = x[i : i + LANES]
        ls = levels[i : i + LANES]
        for k in range(LANES):
            value = xs[k]
            level = nearest_level(s[_EXTREME + k] * value, _LOW, _HIGH)
            ls[k] = level
            weight = value * value
            s[_SUM_LX + k] += weight * value * level
            s[_SUM_L2 + k] += weight * level * level


@inner
def _improve(xs: Floats, ls: Floats, s: Floats, improved: Floats) -> None:
    """Try a new level for one weight of each lane."""
    for k in range(LANES):
        value, level = xs[k], ls[k]
        sum_lx, sum_l2 = s[_SUM_LX + k], s[_SUM_L2 + k]
        weight = value * value
        rest_lx = sum_lx - weight * value * level
        rest_l2 = sum_l2 - weight * level * level
        other = nearest_level(value * rest_l2 / rest_lx, _LOW, _HIGH)
        new_lx = rest_lx + weight * value * other
        new_l2 = rest_l2 + weight * other * other
        better = (
            (rest_lx > _ZERO)
            & (other != level)
            & (new_l2 > _ZERO)
            & (new_lx * new_lx * sum_l2 > sum_lx * sum_lx * new_l2)
        )
        improved[k] = other if better else level
        s[_SUM_LX + k] = new_lx if better else sum_lx
        s[_SUM_L2 + k] = new_l2 if better else sum_l2
        s[_CHANGED + k] += _ONE if better else _ZERO


@inner
def search(x: Floats, levels: Floats, s: Floats) -> Floats:
    """Return the levels (-4 … 3); leave scales and the row ALIVE in the state.

    A sub-block that an improvement has left alone would be left alone again, so all lanes go on
    until none changes.
    """
    improved = np.empty(x.size, np.float32)
    _start(x, levels, s)
    for _ in range(_TRIES):
        for k in range(LANES):
            s[_CHANGED + k] = _ZERO
        # Into another array: stores to the same one would be masked, see `affine`.
        for i in range(0, x.size, LANES):
            _improve(x[i : i + LANES], levels[i : i + LANES], s, improved[i : i + LANES])
        levels, improved = improved, levels
        if not s[_CHANGED : _CHANGED + LANES].any():
            break
    for k in range(LANES):
        fits = (s[_SUM_L2 + k] > _ZERO) & (s[ALIVE + k] > _ZERO)
        s[SCALE + k] = s[_SUM_LX + k] / s[_SUM_L2 + k] if fits else _ZERO
    return levels


@inner
def codes(x: Floats, d: Floats, levels: Floats, s: Floats, out: Bytes) -> None:
    """Levels of x / d plus 4; a sub-block whose d is zero keeps ``levels``."""
    for i in range(0, x.size, LANES):
        xs = x[i : i + LANES]
        row = out[i : i + LANES]
        for k in range(LANES):
            row[k] = np.uint8(np.int32(nearest_level(xs[k] / d[k], _LOW, _HIGH) - _LOW))
    for k in range(LANES):
        if d[k] == _ZERO:
            for i in range(k, x.size, LANES):
                level = levels[i] if s[ALIVE + k] > _ZERO else _LOW
                out[i] = np.uint8(np.int32(level - _LOW))
