"""Levels of a sweep that need not be measured further: successive elimination.

All levels take the same windows in the same random order, so that any two are compared in pairs on
the windows that both have. A level is out once another that is no larger is better with
confidence; two that are left are told apart once the larger is better with confidence. What nobody
can tell apart yet takes more windows, and nothing else does (Even-Dar, Mannor and Mansour, Action
Elimination and Stopping Conditions, JMLR 7, 2006; here for pairs of size and KL divergence).

Every bound has its share of one error for the whole sweep, over all pairs, both ways, the bound on
KL divergence, and all looks (Bonferroni): at most 1 - confidence of sweeps end with a level too
many or too few, as far as `statistics.at_least` is what it says of windows as skewed as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from qpipe.evaluators.text.interfaces import Nll, Values
from qpipe.evaluators.text.statistics import at_least

Goal = Literal["front", "smallest", "best"]


@dataclass(frozen=True)
class CandidateLevel:
    """A level as far as it is measured: bytes, and of each window of the text the sums of the least
    and the most that KL divergence can be there, [windows, 2], NaN for those not taken."""

    name: str
    size: int
    sums: Values


@dataclass(frozen=True)
class Beaten:
    """The reason why a level is out, after so many ``windows``.

    ``worse``: ``by`` is no larger and better; ``same``: gives the same to the bit; ``above``: the
    bound on KL divergence; ``larger``: ``by`` meets that and is smaller. ``difference`` is by how
    many nats a token it is too much on these windows, ``at_least`` on the whole text with the
    confidence of the sweep.
    """

    why: Literal["worse", "same", "above", "larger"]
    by: str | None
    windows: int
    difference: float
    at_least: float


@dataclass(frozen=True)
class SweepQuestion:
    """The question of a sweep: the front of size and KL divergence, the smallest level, or the one
    with the least KL divergence, among those of at most ``max_kld`` nats a token.

    ``counts`` are the scored tokens of each window, ``comparisons`` is the number of bounds that
    share the error.
    """

    goal: Goal
    max_kld: float | None
    counts: Nll
    confidence: float
    comparisons: int

    @property
    def mistaken(self) -> float:
        """The error of one bound."""
        return (1 - self.confidence) / self.comparisons


def comparisons(levels: int, looks: int, *, bounded: bool) -> int:
    """The number of one-sided bounds that a sweep may look at."""
    return max(1, looks * levels * (levels - 1 + (2 if bounded else 0)))


@dataclass
class Standing:
    """The levels of a sweep by now: those that are out, and those that need more windows."""

    question: SweepQuestion
    beaten: dict[str, Beaten] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    left: list[CandidateLevel] = field(default_factory=list)
    """Those that are not out, smallest first."""

    def look(self, candidates: Sequence[CandidateLevel]) -> None:
        """Take note of all candidates as they are measured by now."""
        self.left = [each for each in _by_size(candidates) if each.name not in self.beaten]
        self._eliminate()
        self.open = [each.name for each in self.left if each.name in self._undecided()]

    def _eliminate(self) -> None:
        verdicts = {
            level.name: verdict
            for level in self.left
            if (verdict := self._above_bound(level) or self._beaten(level)) is not None
        }
        self._take_out(verdicts)
        if self.question.goal == "smallest":
            self._keep_smallest()

    def _above_bound(self, level: CandidateLevel) -> Beaten | None:
        bound = self.question.max_kld
        if bound is None:
            return None
        surely = excess(level.sums[:, 0] - bound * self.question.counts, self.question)
        return None if surely.at_least <= 0 else Beaten("above", None, *surely.values)

    def _beaten(self, level: CandidateLevel) -> Beaten | None:
        """Beaten by whichever of the others is better by the most."""
        verdicts = []
        earlier = True
        for other in self.left:
            earlier = earlier and other is not level
            if other is level or not self._may_beat(other, level):
                continue
            surely = excess(level.sums[:, 0] - other.sums[:, 1], self.question)
            if surely.at_least > 0:
                verdicts.append(Beaten("worse", other.name, *surely.values))
            elif earlier and _same(level, other):
                verdicts.append(Beaten("same", other.name, surely.windows, 0.0, 0.0))
        return max(verdicts, key=lambda each: each.at_least, default=None)

    def _may_beat(self, other: CandidateLevel, level: CandidateLevel) -> bool:
        return self.question.goal == "best" or other.size <= level.size

    def _keep_smallest(self) -> None:
        """Leave out what is larger than one that surely meets the bound."""
        met = next((level for level in self.left if self._meets(level)), None)
        if met is not None:
            larger = [e for e in self.left if e is not met and e.size >= met.size]
            verdicts = {e.name: Beaten("larger", met.name, _taken(e), 0.0, 0.0) for e in larger}
            self._take_out(verdicts)

    def _take_out(self, verdicts: Mapping[str, Beaten]) -> None:
        self.beaten |= verdicts
        self.left = [level for level in self.left if level.name not in verdicts]

    def _meets(self, level: CandidateLevel) -> bool:
        bound = self.question.max_kld
        if bound is None:
            return True
        return excess(bound * self.question.counts - level.sums[:, 1], self.question).settled

    def _undecided(self) -> set[str]:
        """The names of the levels that more windows may tell something of."""
        names = {level.name for level in self.left if not self._meets(level)}
        if self.question.goal == "best" and len(self.left) > 1:
            names |= {level.name for level in self.left}
        elif self.question.goal == "front":
            for smaller, larger in pairwise(self.left):
                surely = excess(smaller.sums[:, 0] - larger.sums[:, 1], self.question)
                if not surely.settled:
                    names |= {smaller.name, larger.name}
        return {level.name for level in self.left if level.name in names and not _whole(level)}


@dataclass(frozen=True)
class Excess:
    """A mean over the windows taken, and a lower bound of it on the whole text."""

    windows: int
    mean: float
    at_least: float
    exact: bool

    @property
    def settled(self) -> bool:
        """True if it is surely not negative: above zero, or as it is where all was taken."""
        return self.at_least > 0 or (self.exact and self.at_least >= 0)

    @property
    def values(self) -> tuple[int, float, float]:
        """The fields of a verdict."""
        return self.windows, self.mean, self.at_least


def excess(sums: Nll, question: SweepQuestion) -> Excess:
    """Sums of windows, NaN for those that lack: their mean a token, and its lower bound."""
    taken = ~np.isnan(sums)
    own, counts = sums[taken], question.counts[taken]
    mean = float(own.sum() / counts.sum()) if len(own) else 0.0
    if len(own) == len(sums):
        return Excess(len(own), mean, mean, exact=True)
    if len(own) < 3:
        return Excess(len(own), mean, -np.inf, exact=False)
    bound = at_least(own, counts, available=len(sums), mistaken=question.mistaken)
    return Excess(len(own), mean, bound, exact=False)


def kld(candidate: CandidateLevel, counts: Nll) -> float:
    """The mean of the windows that were taken, in nats a token."""
    taken = ~np.isnan(candidate.sums[:, 0])
    return float(candidate.sums[taken, 0].sum() / counts[taken].sum())


def _by_size(candidates: Sequence[CandidateLevel]) -> list[CandidateLevel]:
    return sorted(candidates, key=lambda each: each.size)


def _same(level: CandidateLevel, other: CandidateLevel) -> bool:
    """True if they give the same on all windows that both have."""
    both = ~np.isnan(level.sums[:, 0] + other.sums[:, 0])
    return bool(both.any()) and np.array_equal(level.sums[both], other.sums[both])


def _taken(level: CandidateLevel) -> int:
    return int((~np.isnan(level.sums[:, 0])).sum())


def _whole(level: CandidateLevel) -> bool:
    return _taken(level) == len(level.sums)


def rounds(available: int, first: int) -> list[int]:
    """The windows that are taken by the end of each round: twice as many each time, then all."""
    numbers = []
    while first < available:
        numbers.append(first)
        first *= 2
    return [*numbers, available]
