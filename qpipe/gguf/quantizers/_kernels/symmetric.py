"""The search for one scale per sub-block, x ≈ scale · level with levels from -top to top - 1.

Source: ggml-quants.c, make_qx_quants with rmse_type 1; GROUP_MAX_EPS.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qpipe.gguf.quantizers._kernels.jit import UNROLLED, Floats, inner
from qpipe.gguf.quantizers._kernels.rounding import nearest_level

EPSILON = np.float32(1e-15)
"""A sub-block without a larger weight counts as zero."""

STATE = 8
"""Rows of lanes that a state has."""

_ZERO = np.float32(0)
_ONE = np.float32(1)

Search = Callable[[Floats, Floats, Floats], None]
"""(x and weights: lanes [size]; state: the rows scale, iscale of the levels, 1 if not zero, …)."""


def search(size: int, top: int, lanes: int) -> Search:
    """The compiled search over ``lanes`` sub-blocks of ``size`` weights.

    It leaves the scale in row 0 of the state and the factor of the levels in row 1; row 2 is 0 for
    sub-blocks that count as zero, whose levels the C sets to 0 - which is not the middle.
    """
    low, high = np.float32(-top), np.float32(top - 1)
    whole, trip = size * lanes, UNROLLED * lanes
    steps = np.array([step for step in range(-9, 10) if step], np.float32)
    factors = -(np.float32(top) + np.float32(0.1) * steps)
    scale, used, alive, best = 0 * lanes, 1 * lanes, 2 * lanes, 3 * lanes
    extreme, iscale, sum_lx, sum_l2 = (row * lanes for row in range(4, STATE))

    @inner
    def extremes(x: Floats, s: Floats) -> None:
        for k in range(lanes):
            s[extreme + k] = _ZERO
        for i in range(0, whole, trip):
            xs = x[i : i + trip]
            for k in range(lanes):
                largest = s[extreme + k]
                for j in range(UNROLLED):
                    value = xs[j * lanes + k]
                    largest = value if np.abs(value) > np.abs(largest) else largest
                s[extreme + k] = largest
        for k in range(lanes):
            s[alive + k] = _ZERO if np.abs(s[extreme + k]) < EPSILON else _ONE

    @inner
    def sums(x: Floats, weights: Floats, factor: np.float32, s: Floats) -> None:
        for k in range(lanes):
            s[iscale + k] = factor / s[extreme + k]
            s[sum_lx + k] = _ZERO
            s[sum_l2 + k] = _ZERO
        for i in range(0, whole, trip):
            xs = x[i : i + trip]
            ws = weights[i : i + trip]
            for k in range(lanes):
                lx, l2, inverse = s[sum_lx + k], s[sum_l2 + k], s[iscale + k]
                for j in range(UNROLLED):
                    level = nearest_level(inverse * xs[j * lanes + k], low, high)
                    lx += ws[j * lanes + k] * xs[j * lanes + k] * level
                    l2 += ws[j * lanes + k] * level * level
                s[sum_lx + k], s[sum_l2 + k] = lx, l2

    @inner
    def keep_better(s: Floats, buffer: Floats) -> None:
        # By way of ``buffer``, as in `affine`.
        for k in range(lanes):
            lx, l2 = s[sum_lx + k], s[sum_l2 + k]
            better = (l2 > _ZERO) & (lx * lx > s[best + k] * l2)
            quotient, product = lx / l2, lx / l2 * lx
            old_scale, old_used, old_best = s[scale + k], s[used + k], s[best + k]
            new_used = s[iscale + k]
            buffer[scale + k] = quotient if better else old_scale
            buffer[used + k] = new_used if better else old_used
            buffer[alive + k] = s[alive + k]
            buffer[best + k] = product if better else old_best
        for k in range(4 * lanes):
            s[k] = buffer[k]

    @inner
    def run(x: Floats, weights: Floats, s: Floats) -> None:
        buffer = np.empty(4 * lanes, np.float32)
        extremes(x, s)
        sums(x, weights, low, s)
        for k in range(lanes):
            quotient = s[sum_lx + k] / s[sum_l2 + k]
            s[scale + k] = _ZERO if s[sum_l2 + k] == _ZERO else quotient
            s[best + k] = s[scale + k] * s[sum_lx + k]
            s[used + k] = s[iscale + k]
        for factor in factors:
            sums(x, weights, factor, s)
            keep_better(s, buffer)
        for k in range(lanes):
            s[scale + k] = s[scale + k] if s[alive + k] > _ZERO else _ZERO

    return run
