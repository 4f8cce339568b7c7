"""The search for the scale of a superblock's scales, or of its minima, none of them negative.

Source: ggml-quants.c, make_qp_quants.
"""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels.jit import Floats, inner
from qpipe.gguf.quantizers._kernels.rounding import nearest
from qpipe.gguf.quantizers._kernels.symmetric import EPSILON

_ZERO = np.float32(0)
_ONE = np.float32(1)
_STEPS = np.array([-4, -3, -2, -1, 1, 2, 3, 4], np.float32)
_SHIFTS = np.float32(0.1) * _STEPS
_BYTE = 256


@inner
def _byte(level: np.float32) -> np.float32:
    """An integer as it is left in a uint8, modulo 256: the C keeps its levels in one."""
    return np.float32(np.int64(level) % _BYTE)


@inner
def _error(x: Floats, weights: Floats, top: np.float32, iscale: np.float32) -> np.float32:
    scale = _ONE / iscale
    error = _ZERO
    for i in range(x.size):
        level = nearest(iscale * x[i])
        level = level if level < top else top
        diff = x[i] - scale * level
        error += weights[i] * diff * diff
    return error


@inner
def _best_iscale(x: Floats, weights: Floats, top: np.float32, largest: np.float32) -> np.float32:
    iscale = top / largest
    scale = _ONE / iscale
    best = _ZERO
    for i in range(x.size):
        diff = x[i] - scale * _byte(nearest(iscale * x[i]))
        best += weights[i] * diff * diff
    for shift in _SHIFTS:
        shifted = (shift + top) / largest
        error = _error(x, weights, top, shifted)
        if error < best:
            best = error
            iscale = shifted
    return iscale


@inner
def fit(x: Floats, weights: Floats, top: np.float32, levels: Floats) -> np.float32:
    """The scale for which scale · ``levels`` comes closest to ``x``; writes ``levels``."""
    largest = _ZERO
    for i in range(x.size):
        largest = largest if largest > x[i] else x[i]
        levels[i] = _ZERO
    if largest < EPSILON:
        return _ZERO
    iscale = _best_iscale(x, weights, top, largest)
    sum_lx = _ZERO
    sum_l2 = _ZERO
    for i in range(x.size):
        level = nearest(iscale * x[i])
        level = level if level < top else top
        levels[i] = _byte(level)
        sum_lx += weights[i] * x[i] * level
        sum_l2 += weights[i] * level * level
    for _ in range(5):
        changed = False
        for i in range(x.size):
            weight = weights[i]
            rest_lx = sum_lx - weight * x[i] * levels[i]
            rest_l2 = sum_l2 - weight * levels[i] * levels[i]
            if rest_lx > _ZERO and rest_l2 > _ZERO:
                level = nearest(x[i] * rest_l2 / rest_lx)
                level = level if level < top else top
                if level != levels[i]:
                    rest_lx += weight * x[i] * level
                    rest_l2 += weight * level * level
                    if rest_lx * rest_lx * sum_l2 > sum_lx * sum_lx * rest_l2:
                        levels[i] = _byte(level)
                        sum_lx = rest_lx
                        sum_l2 = rest_l2
                        changed = True
        if not changed:
            break
    return sum_lx / sum_l2 if sum_l2 > _ZERO else _ZERO
