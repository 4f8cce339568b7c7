"""Student's t and the binomial distribution, from the standard library alone.

Everything rests on the regularized incomplete beta function. `qpipe.results.windows.student` is a
series, 1 % off at 3 degrees of freedom: near enough for what is shown, and not for error rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

_TINY = 1e-300
_MOST_TERMS = 10_000


def incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b), by its continued fraction (DLMF 8.17.22) in Lentz's way, to some 1e-14."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):  # there the fraction of the other side is the quick one
        return 1 - incomplete_beta(b, a, 1 - x)
    log_front = a * math.log(x) + b * math.log1p(-x) - math.log(a)
    log_front += math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(log_front) / _fraction(a, b, x)


def _fraction(a: float, b: float, x: float) -> float:
    """1 + d1/(1 + d2/(1 + …)) of DLMF 8.17.22."""
    value = c = 1.0
    d = 0.0
    for term in range(1, _MOST_TERMS):
        m = term // 2
        if term % 2:
            part = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            part = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / ((1 + part * d) or _TINY)
        c = (1 + part / c) or _TINY
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def student_cdf(t: float, freedom: float) -> float:
    """The probability that Student's t is at most ``t`` (Abramowitz and Stegun, 26.7.1)."""
    if math.isinf(t):
        return float(t > 0)
    tail = incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2
    return 1 - tail if t > 0 else tail


def student_quantile(p: float, freedom: float) -> float:
    """The value that Student's t is below with probability ``p``."""
    if p < 0.5:
        return -student_quantile(1 - p, freedom)
    high = 1.0
    while student_cdf(high, freedom) < p:
        high *= 2
    return bisect(lambda t: student_cdf(t, freedom) < p, 0.0, high)


def binomial_at_least(k: int, n: int, p: float) -> float:
    """P(X ≥ k) of X binomial (n, p)."""
    return 1.0 if k <= 0 else 0.0 if k > n else incomplete_beta(k, n - k + 1, p)


@lru_cache(maxsize=1024)
def share_at_most(k: int, n: int, wrong: float) -> float:
    """The share of which ``k`` of ``n`` were seen, more with probability ``wrong`` at most (Clopper
    and Pearson, Biometrika 26, 1934)."""
    if k >= n:
        return 1.0
    return bisect(lambda p: binomial_at_least(k + 1, n, p) < 1 - wrong, 0.0, 1.0)


def bisect(
    below: Callable[[float], bool], low: float, high: float, *, width: float = 1e-12
) -> float:
    """The place between ``low`` and ``high`` up to which ``below`` is true, known to ``width`` of
    it (of 1, if it is less)."""
    while high - low > width * max(1.0, abs(high)):
        middle = (low + high) / 2
        if below(middle):
            low = middle
        else:
            high = middle
    return (low + high) / 2
