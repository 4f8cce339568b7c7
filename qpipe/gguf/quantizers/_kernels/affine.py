"""The search for a scale and a minimum per sub-block, x ≈ scale · level + minimum.

Source: ggml-quants.c, make_qkx2_quants (plain) and make_qkx3_quants (with importances).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from qpipe.gguf.quantizers._kernels.jit import LANES, UNROLLED, Floats, inner
from qpipe.gguf.quantizers._kernels.rounding import MAGIC, nearest_level

_ZERO = np.float32(0)
_ONE = np.float32(1)
_TRIP = UNROLLED * LANES

# Rows of the state. What a search leaves for its caller:
MIN = 0 * LANES  # at most zero; the C's the_min is its negative
SCALE = 1 * LANES
LEVEL_ISCALE = 2 * LANES  # the levels are those of LEVEL_ISCALE · (x - LEVEL_MIN)
LEVEL_MIN = 3 * LANES
REFINED = 4 * LANES  # 1 where they come from a later pass than the first
SUM_W = 6 * LANES
# Its own:
_ERROR = 5 * LANES
_KEPT = 6 * LANES  # the rows in front of this one change with every better pass
_SUM_X = 7 * LANES
_MAX = 8 * LANES
_ISCALE = 9 * LANES
_SUM_L = 10 * LANES
_SUM_L2 = 11 * LANES
_SUM_XL = 12 * LANES
_NEW_SCALE = 13 * LANES
_NEW_MIN = 14 * LANES
_NEW_ERROR = 15 * LANES
_FLAT = 16 * LANES
STATE = 17 * LANES

Search = Callable[[Floats, Floats, Floats, Floats], None]
"""(x, weights, scratch: lanes [size]; state [STATE])."""


@dataclass(frozen=True)
class Affine:
    """Arguments of the C's search: n, nmax, rmin, rdelta, nstep, use_mad; and which search."""

    size: int
    top: int
    first: float
    delta: float
    steps: int
    absolute: bool = False
    guarded: bool = False

    def factors(self) -> Floats:
        """nmax of each pass, shifted: (rmin + rdelta · step) + nmax in float32."""
        steps = np.arange(self.steps + 1, dtype=np.float32)
        return np.float32(self.first) + np.float32(self.delta) * steps + np.float32(self.top)


@inner
def guarded_level(value: np.float32, top: np.float32) -> np.float32:
    """make_qkx3_quants' level: clamped first, so that infinity is ``top`` and NaN zero."""
    value = value if value > _ZERO else _ZERO
    value = value if value < top else top
    return np.float32(value + MAGIC) - MAGIC


@inner
def _extremes(x: Floats, weights: Floats, s: Floats) -> None:
    for k in range(LANES):
        s[MIN + k] = x[k]
        s[_MAX + k] = x[k]
        s[SUM_W + k] = weights[k]
        s[_SUM_X + k] = weights[k] * x[k]
    for i in range(LANES, x.size, LANES):
        xs = x[i : i + LANES]
        ws = weights[i : i + LANES]
        for k in range(LANES):
            value, low, high = xs[k], s[MIN + k], s[_MAX + k]
            s[MIN + k] = value if value < low else low
            s[_MAX + k] = value if value > high else high
            s[SUM_W + k] += ws[k]
            s[_SUM_X + k] += ws[k] * value


@inner
def _solve(s: Floats) -> None:
    """The least-squares scale and minimum of the levels; a NaN error where there is none."""
    for k in range(LANES):
        sum_l, sum_l2, sum_xl = s[_SUM_L + k], s[_SUM_L2 + k], s[_SUM_XL + k]
        sum_w, sum_x = s[SUM_W + k], s[_SUM_X + k]
        determinant = sum_w * sum_l2 - sum_l * sum_l
        scale = (sum_w * sum_xl - sum_x * sum_l) / determinant
        minimum = (sum_l2 * sum_x - sum_l * sum_xl) / determinant
        through_zero = sum_xl / sum_l2
        s[_NEW_SCALE + k] = through_zero if minimum > _ZERO else scale
        s[_NEW_MIN + k] = _ZERO if minimum > _ZERO else minimum
        s[_NEW_ERROR + k] = _ZERO if determinant > _ZERO else np.float32(np.nan)


@inner
def _keep_better(s: Floats, buffer: Floats) -> None:
    # By way of ``buffer``: a row that is written back where it is not replaced would be compiled
    # (numba 0.68.1) to masked stores, which take AMD's processors tens of cycles each.
    for k in range(LANES):
        error, scale, low = s[_ERROR + k], s[SCALE + k], s[MIN + k]
        new_error, new_scale, new_low = s[_NEW_ERROR + k], s[_NEW_SCALE + k], s[_NEW_MIN + k]
        iscale, level_iscale, level_min = s[_ISCALE + k], s[LEVEL_ISCALE + k], s[LEVEL_MIN + k]
        refined = s[REFINED + k]
        better = new_error < error
        buffer[_ERROR + k] = new_error if better else error
        buffer[SCALE + k] = new_scale if better else scale
        buffer[MIN + k] = new_low if better else low
        buffer[LEVEL_ISCALE + k] = iscale if better else level_iscale
        buffer[LEVEL_MIN + k] = low if better else level_min
        buffer[REFINED + k] = _ONE if better else refined
    for k in range(_KEPT):
        s[k] = buffer[k]


def search(options: Affine) -> Search:
    """The compiled search; all sizes and factors are constants in it."""
    top = np.float32(options.top)
    absolute, guarded, whole = options.absolute, options.guarded, options.size * LANES
    factors = options.factors()

    @inner
    def first_pass(x: Floats, weights: Floats, s: Floats) -> None:
        for k in range(LANES):
            low = s[MIN + k]
            low = _ZERO if low > _ZERO else low
            iscale = top / (s[_MAX + k] - low)
            s[MIN + k] = low
            s[_FLAT + k] = _ONE if s[_MAX + k] == low else _ZERO
            s[SCALE + k] = _ONE / iscale
            s[LEVEL_ISCALE + k] = iscale
            s[LEVEL_MIN + k] = low
            s[REFINED + k] = _ZERO
            s[_ERROR + k] = _ZERO
        for i in range(0, whole, LANES):
            xs = x[i : i + LANES]
            ws = weights[i : i + LANES]
            for k in range(LANES):
                level = nearest_level(s[LEVEL_ISCALE + k] * (xs[k] - s[MIN + k]), _ZERO, top)
                diff = s[SCALE + k] * level + s[MIN + k] - xs[k]
                s[_ERROR + k] += ws[k] * (np.abs(diff) if absolute else diff * diff)

    @inner
    def sums(x: Floats, weights: Floats, levels: Floats, s: Floats) -> None:
        for i in range(0, whole, _TRIP):
            xs = x[i : i + _TRIP]
            ws = weights[i : i + _TRIP]
            ls = levels[i : i + _TRIP]
            for k in range(LANES):
                sum_l, sum_l2, sum_xl = s[_SUM_L + k], s[_SUM_L2 + k], s[_SUM_XL + k]
                iscale, low = s[_ISCALE + k], s[MIN + k]
                for j in range(UNROLLED):
                    value = xs[j * LANES + k]
                    if guarded:
                        level = guarded_level(iscale * (value - low), top)
                    else:
                        level = nearest_level(iscale * (value - low), _ZERO, top)
                    ls[j * LANES + k] = level
                    weighted = ws[j * LANES + k] * level
                    sum_l += weighted
                    sum_l2 += weighted * level
                    sum_xl += weighted * value
                s[_SUM_L + k], s[_SUM_L2 + k], s[_SUM_XL + k] = sum_l, sum_l2, sum_xl

    @inner
    def error(x: Floats, weights: Floats, levels: Floats, s: Floats) -> None:
        for i in range(0, whole, _TRIP):
            xs = x[i : i + _TRIP]
            ws = weights[i : i + _TRIP]
            ls = levels[i : i + _TRIP]
            for k in range(LANES):
                total, scale, minimum = s[_NEW_ERROR + k], s[_NEW_SCALE + k], s[_NEW_MIN + k]
                for j in range(UNROLLED):
                    diff = scale * ls[j * LANES + k] + minimum - xs[j * LANES + k]
                    total += ws[j * LANES + k] * (np.abs(diff) if absolute else diff * diff)
                s[_NEW_ERROR + k] = total

    @inner
    def run(x: Floats, weights: Floats, levels: Floats, s: Floats) -> None:
        buffer = np.empty(_KEPT, np.float32)
        _extremes(x, weights, s)
        first_pass(x, weights, s)
        for factor in factors:
            for k in range(LANES):
                s[_ISCALE + k] = factor / (s[_MAX + k] - s[MIN + k])
                s[_SUM_L + k] = _ZERO
                s[_SUM_L2 + k] = _ZERO
                s[_SUM_XL + k] = _ZERO
            sums(x, weights, levels, s)
            _solve(s)
            error(x, weights, levels, s)
            _keep_better(s, buffer)
        for k in range(LANES):
            if s[_FLAT + k] == _ONE:
                s[SCALE + k] = _ZERO
                s[LEVEL_ISCALE + k] = _ZERO

    return run
