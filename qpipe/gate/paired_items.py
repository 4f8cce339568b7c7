"""How many more items a model gets wrong than its reference: an exact test with a margin.

Both answered the same items. Of ``items``, ``lost`` were right by the reference alone and
``gained`` by the model alone (the discordant ones); the drop in accuracy is
(lost - gained) / items. Items of several tasks are added up: those of one are no likelier than the
average to be discordant, and fixed numbers of each only narrow the sum (Hoeffding, Annals of
Mathematical Statistics 27, 1956).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

from qpipe.gate.quantiles import binomial_at_least, bisect, share_at_most

LEVEL = 0.05
"""The probability of a mistake on either side of a bound."""
POWER = 0.8
# Of LEVEL, what is spent on not knowing how many items are discordant (Berger and Boos, JASA 89,
# 1994): the p-value is the largest over all shares up to a limit, plus the probability of one
# beyond it. Spent first, so that p-values can be as small as many checks ask for; then, where that
# is not below `_SPENT`, with a nearer limit.
_SPENT_FIRST, _SPENT = 1e-5, 0.01
_GRID = 9
_WIDTH = 1e-5
# A number of items that nobody has.
_MOST = 1e9


@dataclass(frozen=True)
class PairedItems:
    """Counts of items; `drop` is a share, not percent."""

    items: int
    lost: int
    gained: int

    def __add__(self, other: PairedItems) -> PairedItems:
        """Add up the items of two tasks."""
        return PairedItems(
            self.items + other.items, self.lost + other.lost, self.gained + other.gained
        )

    @property
    def value(self) -> float:
        """The drop in accuracy."""
        return (self.lost - self.gained) / self.items

    @property
    def discordant(self) -> int:
        """The items that one of the two alone got right."""
        return self.lost + self.gained

    @property
    def count(self) -> int:
        """The number of items."""
        return self.items

    def p_above(self, bound: float) -> float:
        """The p-value of a drop of ``bound`` or less: small where it is surely more.

        Given the share ψ of discordant items, an item is lost with probability (ψ + drop)/2, gained
        with (ψ - drop)/2, and the distribution of lost - gained is exact. It is the largest over
        all ψ up to a limit, plus the probability of one beyond.
        """
        small = self._largest(bound, _SPENT_FIRST)
        # What is below 0.01 with the far limit is below 0.02 with the near one: each p is a
        # p-value at every level.
        return small if small < _SPENT else max(2 * _SPENT, self._largest(bound, _SPENT))

    def _largest(self, bound: float, spent: float) -> float:
        least = max(0.0, -bound)
        most = share_at_most(self.discordant, self.items, spent)
        shares = [least + (most - least) * step / _GRID for step in range(_GRID + 1)]
        above = (self._tail(min(bound, share), share) for share in shares if least <= most)
        return min(1.0, max(above, default=0.0) + spent)

    def p_below(self, bound: float) -> float:
        """The p-value of a drop of ``bound`` or more: small where it is surely less."""
        return self._swapped.p_above(-bound)

    @property
    def p_better(self) -> float:
        """McNemar's exact two-sided p-value where the model is the better one, else 1."""
        if self.gained <= self.lost:
            return 1.0
        return min(1.0, 2 * binomial_at_least(self.gained, self.discordant, 0.5))

    @property
    def p_worse(self) -> float:
        """McNemar's exact two-sided p-value where the model is the worse one, else 1."""
        return self._swapped.p_better

    @property
    def p_mcnemar(self) -> float:
        """McNemar's exact two-sided p-value of no difference (Psychometrika 12, 1947)."""
        most = max(self.lost, self.gained)
        return min(1.0, 2 * binomial_at_least(most, self.discordant, 0.5))

    @cached_property
    def low(self) -> float:
        """The drop that it surely exceeds, with 95 % confidence."""
        return bisect(lambda drop: self.p_above(drop) <= LEVEL, -1.0, self.value, width=_WIDTH)

    @cached_property
    def high(self) -> float:
        """The drop that it surely stays below, with 95 % confidence."""
        return -self._swapped.low

    @property
    def mde(self) -> float:
        """The least distance of a true drop from a bound that is seen with 80 % power.

        (z₀.₉₅ + z₀.₈₀) √(ψ/n) (Connor, Biometrics 43, 1987), but no less than the drop at which no
        discordant item at all would be a surprise.
        """
        surprising = float(1 - _SPENT ** (1 / self.items))
        by_share = (_z(1 - LEVEL) + _z(POWER)) * math.sqrt(self.discordant) / self.items
        return min(1.0, max(surprising, by_share))

    def needed(self, bound: float, *, among: int = 1) -> int | None:
        """Return how many items in all would tell a drop like this one from ``bound`` with 80 %
        power, a regression ``among`` so many checks; None where it is so near that none would."""
        if not self.discordant:
            return math.ceil(math.log(_SPENT) / math.log1p(-bound)) if 0 < bound < 1 else None
        distance, share = abs(self.value - bound), self.discordant / self.items
        spread = share - self.value**2
        if spread <= 0 or not distance:
            return None
        level = LEVEL / among if self.value > bound else LEVEL
        spent = _SPENT if level > 2 * _SPENT else _SPENT_FIRST
        wanted, test = 0.0, _z(1 - level + spent)
        for wider in (1.0, None):
            # The share of so many items is taken for what it may at most be.
            if wider is None:
                wider = math.sqrt(1 + _z(1 - spent) * math.sqrt((1 - share) / (share * wanted)))
            wanted = (test * wider + _z(POWER)) ** 2 * spread / distance**2
        return math.ceil(wanted) if wanted < _MOST else None

    @cached_property
    def _swapped(self) -> PairedItems:
        return PairedItems(self.items, self.gained, self.lost)

    def _tail(self, drop: float, share: float) -> float:
        """P(lost - gained ≥ what was seen) under this drop and share of discordant items."""
        return _at_least(self.lost - self.gained, self.items, drop, share)


def _at_least(least: int, n: int, drop: float, share: float) -> float:
    """P(D ≥ least), D the sum of n draws of 1, -1 and 0 with probabilities (share + drop)/2,
    (share - drop)/2 and the rest: the Fourier inversion of its characteristic function.

    Of so many points that what lies beyond them has a probability of less than 1e-12.
    """
    import numpy as np

    deviation = math.sqrt(n * max(share - drop * drop, 0.0))
    reach = min(2 * n + 2, int(20 * deviation) + 80)
    points = 1 << (reach - 1).bit_length()
    first = round(n * drop) - points // 2
    angles = 2 * np.pi * np.arange(points) / points
    turn = np.exp(1j * angles)
    phi = 1 - share + (share + drop) / 2 * turn + (share - drop) / 2 / turn
    density = np.fft.fft(phi**n * np.exp(-1j * angles * first)).real / points
    at = least - first
    if at <= 0:
        return 1.0
    return float(min(1.0, max(0.0, density[at:].sum()))) if at < points else 0.0


def _z(p: float) -> float:
    return NormalDist().inv_cdf(p)
