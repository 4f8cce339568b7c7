"""The smallest mix whose file was measured to keep a KL divergence: the artifact of ``mix``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from qpipe.errors import DataError, RecipeError
from qpipe.mix.budget import Budget, MixChoice
from qpipe.mix.choosing import Mix, mix_of
from qpipe.mix.target import MixTarget

JSON = "mix.json"
SCHEMA = 1

# Measured within this share below the bound, a file is near enough to the smallest.
_NEAR = 0.02

Measure = Callable[[MixChoice], tuple[float, float]]
"""Gives the KL divergence of the file of a choice, and half its 95 % interval."""


@dataclass(frozen=True)
class Try:
    """A file that was measured: its bytes, what was ``expected`` of it, and what it had."""

    file_bytes: int
    bits_per_weight: float
    expected: float
    kld: float
    half: float


@dataclass(frozen=True)
class FittedMix:
    """The form of each group with which the file keeps the ``bound``, by the upper end of its
    interval; ``tries`` are all files that were measured, in order."""

    bound: float
    forms: Mapping[str, str]
    kld: float
    half: float
    tries: Sequence[Try]

    def save(self, folder: Path) -> None:
        """Write the file of the artifact."""
        record = {"schema": SCHEMA, **asdict(self)}
        (folder / JSON).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> FittedMix:
        """Read the file of an artifact. Raises DataError for one of another version."""
        record = json.loads((folder / JSON).read_bytes())
        if record.pop("schema") != SCHEMA:
            raise DataError(f"{folder / JSON}: of another version of qpipe: make it anew")
        return cls(**{**record, "tries": [Try(**each) for each in record["tries"]]})

    def within(self, target: MixTarget, budget: Budget) -> Mix:
        """The mix for a target. Raises RecipeError where it does not keep the other bounds."""
        choice = replace(budget.of_forms(self.forms), kld=self.kld, half=self.half, measured=True)
        budget.require_others(target, choice)
        return mix_of(choice, budget)


def fit(budget: Budget, bound: float, measure: Measure, *, most: int) -> FittedMix:
    """Measure files, ``most`` at most, until the smallest is near that keeps the ``bound``.

    What a file had more than was expected of it moves the next one. Raises RecipeError where the
    largest does not keep it, or the smallest does with room to spare, naming both.
    """
    return _Search(budget, bound, measure).run(most)


class _Search:
    def __init__(self, budget: Budget, bound: float, measure: Measure) -> None:
        self.budget, self.bound, self._measure = budget, bound, measure
        self.tries: list[MixChoice] = []
        self.expected: list[float] = []
        self.asked: list[float] = []

    def run(self, most: int) -> FittedMix:
        asked = self.bound
        while len(self.tries) < most:
            choice = self._expecting(asked)
            if any(choice.forms == each.forms for each in self.tries):
                break
            tried = self.measure(choice, asked)
            if (1 - _NEAR) * self.bound <= tried.upper <= self.bound:
                break
            asked = self._next(asked * self.bound / max(tried.upper, 1e-12))
        if not self._keeping:
            self._require_largest()
        best = min(self._keeping, key=lambda choice: choice.file_bytes)
        if best.forms == self.budget.smallest.forms and best.upper < self.bound:
            raise self._outside(best, self.budget.largest)
        tries = [
            Try(c.file_bytes, c.bits_per_weight, expected, c.kld, c.half)
            for c, expected in zip(self.tries, self.expected, strict=True)
        ]
        return FittedMix(self.bound, best.forms, best.kld, best.half, tries)

    def measure(self, choice: MixChoice, asked: float) -> MixChoice:
        kld, half = self._measure(choice)
        tried = replace(choice, kld=kld, half=half, measured=True)
        self.tries.append(tried)
        self.expected.append(choice.kld)
        self.asked.append(asked)
        return tried

    @property
    def _keeping(self) -> list[MixChoice]:
        return [choice for choice in self.tries if choice.upper <= self.bound]

    def _expecting(self, kld: float) -> MixChoice:
        """The smallest of which no more is expected, or the largest."""
        try:
            return self.budget.smallest_within(kld)
        except RecipeError:
            return self.budget.largest

    def _next(self, asked: float) -> float:
        """The next to ask for: as corrected, or between what kept the bound and what did not."""
        kept = [a for a, c in zip(self.asked, self.tries, strict=True) if c.upper <= self.bound]
        lost = [a for a, c in zip(self.asked, self.tries, strict=True) if c.upper > self.bound]
        low, high = max(kept, default=None), min(lost, default=None)
        if low is not None and high is not None and not low < asked < high:
            return float((low * high) ** 0.5)
        return asked

    def _require_largest(self) -> None:
        largest = self.budget.largest
        tried = next((each for each in self.tries if each.forms == largest.forms), None)
        tried = tried or self.measure(largest, 0.0)
        if tried.upper > self.bound:
            raise self._outside(self.budget.smallest, tried)

    def _outside(self, smallest: MixChoice, largest: MixChoice) -> RecipeError:
        target = MixTarget(kld=self.bound)
        return self.budget.outside(target, f"kld {self.bound:g}", smallest, largest)
