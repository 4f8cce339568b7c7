"""What stands beside a bound: an estimate with its limits, whatever it is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

from qpipe.gate.paired_items import LEVEL, POWER
from qpipe.gate.window_means import WindowMean
from qpipe.results.scores import NORMAL_95

_NORMAL = NormalDist()
# The level of windows: see `window_means`.
_GUARD = 2.0


class Estimate(Protocol):
    """A loss, higher being worse, with 95 % limits on either side.

    p-values are at most 5 % with a probability of at most 5 % where the truth is on the other side.
    """

    @property
    def value(self) -> float:
        """The loss as it was measured."""

    @property
    def low(self) -> float:
        """The loss that it surely exceeds."""

    @property
    def high(self) -> float:
        """The loss that it surely stays below."""

    @property
    def count(self) -> int:
        """The number of items or tokens."""

    @property
    def mde(self) -> float:
        """The least distance of a true loss from a bound that is seen with 80 % power."""

    @property
    def p_better(self) -> float:
        """The p-value of a loss of zero or more: small where there surely is none."""

    def p_above(self, bound: float) -> float:
        """The p-value of a loss of ``bound`` or less: small where it is surely more."""

    def p_below(self, bound: float) -> float:
        """The p-value of a loss of ``bound`` or more: small where it is surely less."""

    def needed(self, bound: float, *, among: int = 1) -> int | None:
        """Return how many items or tokens in all would decide with 80 % power, a regression
        ``among`` so many checks; None if none would."""


@dataclass(frozen=True)
class PerplexityRise:
    """The rise of a perplexity as a share of the reference's: e to the mean difference a token,
    ``units`` a token (a word has several tokens), less 1."""

    mean: WindowMean
    units: float = 1.0

    @property
    def value(self) -> float:
        """The rise."""
        return self._rise(self.mean.value)

    @property
    def low(self) -> float:
        """The rise that it surely exceeds."""
        return self._rise(self.mean.low)

    @property
    def high(self) -> float:
        """The rise that it surely stays below."""
        return self._rise(self.mean.high)

    @property
    def count(self) -> int:
        """The number of tokens."""
        return self.mean.count

    @property
    def mde(self) -> float:
        """The least distance that is seen with 80 % power."""
        return self._rise(self.mean.mde)

    @property
    def p_better(self) -> float:
        """The p-value of no fall."""
        return self.mean.p_better

    def p_above(self, bound: float) -> float:
        """The p-value of a rise of ``bound`` or less."""
        return self.mean.p_above(self._mean(bound))

    def p_below(self, bound: float) -> float:
        """The p-value of a rise of ``bound`` or more."""
        return self.mean.p_below(self._mean(bound))

    def needed(self, bound: float, *, among: int = 1) -> int | None:
        """Return how many tokens in all would decide."""
        return self.mean.needed(self._mean(bound), among=among)

    def _rise(self, mean: float) -> float:
        exponent = mean / self.units
        return math.expm1(exponent) if abs(exponent) < 700 else math.copysign(math.inf, exponent)

    def _mean(self, rise: float) -> float:
        return math.log1p(rise) * self.units if rise > -1 else -math.inf


@dataclass(frozen=True)
class ReportedInterval:
    """A loss of which only a 95 % interval is known, from a report: taken for a normal one."""

    value: float
    low: float
    high: float
    count: int

    @property
    def mde(self) -> float:
        """The least distance that is seen with 80 % power."""
        half = (self.high - self.low) / 2
        return half * (1 + _NORMAL.inv_cdf(POWER) / NORMAL_95)

    @property
    def p_better(self) -> float:
        """The p-value of a loss of zero or more."""
        return self.p_below(0.0)

    def p_above(self, bound: float) -> float:
        """The p-value of a loss of ``bound`` or less."""
        return self._p(self.value - bound, self.value - self.low)

    def p_below(self, bound: float) -> float:
        """The p-value of a loss of ``bound`` or more."""
        return self._p(bound - self.value, self.high - self.value)

    def needed(self, bound: float, *, among: int = 1) -> int | None:
        """Return how many items or tokens in all would decide."""
        distance = abs(self.value - bound)
        level = LEVEL / (among if self.value > bound else 1) / _GUARD
        sigmas = -_NORMAL.inv_cdf(level) + _NORMAL.inv_cdf(POWER)
        stderr = (self.high - self.low) / 2 / NORMAL_95
        wanted = self.count * (sigmas * stderr / distance) ** 2 if distance else math.inf
        return math.ceil(wanted) if wanted < 1e12 else None

    @staticmethod
    def _p(distance: float, half: float) -> float:
        if half <= 0:
            return 0.0 if distance > 0 else 1.0
        return min(1.0, _GUARD * _NORMAL.cdf(-distance / half * NORMAL_95))


@dataclass(frozen=True)
class Bracket:
    """A loss known to lie between two: by the least it is surely too much, by the most little
    enough."""

    least: Estimate
    most: Estimate

    @property
    def value(self) -> float:
        """The least that it can be."""
        return self.least.value

    @property
    def low(self) -> float:
        """The loss that it surely exceeds."""
        return self.least.low

    @property
    def high(self) -> float:
        """The loss that it surely stays below."""
        return self.most.high

    @property
    def count(self) -> int:
        """The number of tokens."""
        return self.least.count

    @property
    def mde(self) -> float:
        """The least distance that is seen with 80 % power, and what lies between the two."""
        return max(self.least.mde, self.most.mde) + self.most.value - self.least.value

    @property
    def p_better(self) -> float:
        """The p-value of a loss of zero or more."""
        return self.most.p_better

    def p_above(self, bound: float) -> float:
        """The p-value of a loss of ``bound`` or less."""
        return self.least.p_above(bound)

    def p_below(self, bound: float) -> float:
        """The p-value of a loss of ``bound`` or more."""
        return self.most.p_below(bound)

    def needed(self, bound: float, *, among: int = 1) -> int | None:
        """Return how many tokens in all would decide; None where the bound lies between the two."""
        if self.least.value <= bound <= self.most.value:
            return None
        return (self.least if bound < self.least.value else self.most).needed(bound, among=among)
