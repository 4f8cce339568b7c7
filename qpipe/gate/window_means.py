"""A mean a token beside a bound, from the sums of windows, which may be skewed.

Windows are what is drawn, tokens of one window are no independent draws: the mean is a ratio of
sums, its variance Cochran's (Sampling Techniques, 2.11 and 6.3), as in `qpipe.results.windows`.
Windows of quantized models are skewed, few being far worse than the rest. Student's interval is
then too short on the side of the skew: it is widened there by Hall's cubic transformation (Journal
of the Royal Statistical Society B 54, 1992), and nowhere made narrower. What skewness remains
unseen in so few windows is met by a level of 2.5 % in place of 5 % (of 1.7 % below 30 windows,
0.5 % below 16), so that mistakes stay at 5 %: docs/gate.md has the figures that were simulated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

from qpipe.gate.paired_items import LEVEL, POWER
from qpipe.gate.quantiles import student_cdf, student_quantile

LEAST = 3
"""Windows of which something can be said."""
# Of at least so many windows the level is LEVEL over this.
_GUARDS = ((30, 2.0), (16, 3.0), (0, 10.0))
_ENOUGH, _GUARD = _GUARDS[0]
# Of windows that a measurement took until they were enough: see `evaluators.text.sampling.WIDER`.
STOPPED = 1.2
_MOST = 1e12
# Standard errors beyond which nothing changes.
_FAR = 1e9


@dataclass(frozen=True)
class WindowMean:
    """A mean a token of ``tokens`` in so many ``windows``, with its standard error and the skewness
    of the windows' residuals."""

    value: float
    stderr: float
    skew: float
    windows: int
    tokens: int

    @classmethod
    def of(
        cls, sums: Sequence[float], tokens: Sequence[int], *, value: float | None = None,
        wider: float = 1.0,
    ) -> WindowMean:  # fmt: skip
        """The mean of what windows add up to, or ``value`` where another estimate of it is better;
        its error is made ``wider``."""
        windows, scored = len(sums), sum(tokens)
        mean = math.fsum(sums) / scored
        residuals = [own - mean * count for own, count in zip(sums, tokens, strict=True)]
        squares = math.fsum(r * r for r in residuals)
        if windows < LEAST or squares == 0:
            stderr = math.inf if windows < LEAST else 0.0
            return cls(mean if value is None else value, stderr, 0.0, windows, scored)
        spread = math.sqrt(squares / windows)
        # Fisher's g₁ without its bias: Joanes and Gill, The Statistician 47, 1998.
        skew = math.fsum((r / spread) ** 3 for r in residuals) / windows
        skew *= math.sqrt(windows * (windows - 1)) / (windows - 2)
        stderr = wider * math.sqrt(squares * windows / (windows - 1)) / scored
        return cls(mean if value is None else value, stderr, skew, windows, scored)

    @property
    def count(self) -> int:
        """The number of tokens."""
        return self.tokens

    def p_above(self, bound: float) -> float:
        """The p-value of a mean of ``bound`` or less: small where it is surely more."""
        return self._p(self.value - bound, -self.skew)

    def p_below(self, bound: float) -> float:
        """The p-value of a mean of ``bound`` or more: small where it is surely less."""
        return self._p(bound - self.value, self.skew)

    @property
    def p_better(self) -> float:
        """The p-value of a mean of zero or more."""
        return self.p_below(0.0)

    @property
    def low(self) -> float:
        """The mean that it surely exceeds, with 95 % confidence."""
        return self.value - self.stderr * self._reach(-self.skew)

    @property
    def high(self) -> float:
        """The mean that it surely stays below, with 95 % confidence."""
        return self.value + self.stderr * self._reach(self.skew)

    @property
    def mde(self) -> float:
        """The least distance of a true mean from a bound that is seen with 80 % power."""
        reach = max(self._reach(-self.skew), self._reach(self.skew))
        return self.stderr * (reach + NormalDist().inv_cdf(POWER))

    def needed(self, bound: float, *, among: int = 1) -> int | None:
        """Return how many tokens in all would tell a mean like this one from ``bound`` with 80 %
        power, a regression ``among`` so many checks; None where it is so near that none would. Of
        windows too few to say how much they vary, as many as make 30."""
        distance = abs(self.value - bound)
        if self.windows < LEAST:
            return math.ceil(self.tokens * _ENOUGH / self.windows)
        if not distance:
            return None
        level = LEVEL / (among if self.value > bound else 1) / _GUARD
        quantile = NormalDist().inv_cdf(1 - level) + NormalDist().inv_cdf(POWER)
        wanted = self.tokens * (quantile * self.stderr / distance) ** 2
        # Few windows are also short of the number at which the level is that of many.
        wanted = max(wanted, self.tokens * min(1.0, _ENOUGH / self.windows))
        return math.ceil(wanted) if wanted < _MOST else None

    @cached_property
    def _guard(self) -> float:
        return next(guard for least, guard in _GUARDS if self.windows >= least)

    def _p(self, distance: float, skew: float) -> float:
        if self.windows < LEAST:
            return 1.0
        if not self.stderr:
            return 0.0 if distance > 0 else 1.0
        t = max(-_FAR, min(_FAR, -distance / self.stderr))
        tail = student_cdf(max(t, self._straightened(t, skew)), self.windows - 1)
        return min(1.0, self._guard * tail)

    def _straightened(self, t: float, skew: float) -> float:
        """Hall's transformation of Student's t, of which the skewness is gone."""
        a = max(0.0, skew) / math.sqrt(self.windows)
        return t + a * t * t / 3 + a * a * t**3 / 27 + a / 6

    def _reach(self, skew: float) -> float:
        """The number of standard errors to a limit on the side of ``skew``."""
        if self.windows < LEAST or not self.stderr:
            return 1.0
        quantile = student_quantile(1 - LEVEL / self._guard, self.windows - 1)
        a = max(0.0, skew) / math.sqrt(self.windows)
        if not a:
            return quantile
        # The inverse of `_straightened` in closed form.
        cube = 1 + a * (-quantile - a / 6)
        return max(quantile, -3 / a * (math.copysign(abs(cube) ** (1 / 3), cube) - 1))
