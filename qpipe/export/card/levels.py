"""The levels of a card beside each other: by which score, which are on the front, and for whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from qpipe.report import numbers
from qpipe.report.columns import interval_of, is_seen, noise_of
from qpipe.report.html.data import interval, role
from qpipe.report.html.front import Point, front
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.results.scores import Better, Score

# Metrics in the order in which they say what was lost: how far a model is from its reference says
# more than its perplexity (`report.columns`).
_FIRST = ("kld", "ppl", "word_ppl")
# The score of which one is a share of another.
_RATIO = "kld"


@dataclass(frozen=True)
class Levels:
    """The exported ``rows`` of a ``comparison``, ranked by the score ``key``; None: none of them
    was measured. ``labels`` are what rows of one format are called, by their names."""

    comparison: Comparison
    rows: Sequence[ModelRow]
    key: str | None
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        comparison: Comparison,
        rows: Sequence[ModelRow],
        labels: Mapping[str, str] | None = None,
    ) -> Levels:
        """Rank by the score that most rows have, of several the one that says most."""
        keys = [key for key in comparison.scores if _ranks(key, rows)]
        ranks = {key: (-len(_with(key, rows)), _place(key, rows)) for key in keys}
        return cls(comparison, rows, min(keys, key=ranks.__getitem__, default=None), labels or {})

    @property
    def reference(self) -> ModelRow | None:
        """The row of the reference; None where there is none."""
        return next((row for row in self.comparison.rows if row.reference), None)

    @cached_property
    def front(self) -> list[ModelRow]:
        """The rows that no other is preferable to, from the smallest to the largest."""
        if self.key is None:
            return []
        rows = {str(number): row for number, row in enumerate(self.rows) if self.score(row)}
        points = [
            Point(name, row.size_bytes, score.value)
            for name, row in rows.items()
            if row.size_bytes is not None and (score := self.score(row)) is not None
        ]
        return [rows[name] for name in front(points, self._better)]

    def score(self, row: ModelRow) -> Score | None:
        """The score by which a row is ranked, if it has it."""
        return None if self.key is None else row.scores.get(self.key)

    def named(self, row: ModelRow) -> str:
        """The name of a row in sentences: its format, where that tells rows apart."""
        if row.name in self.labels:
            return self.labels[row.name]
        shown = {each.name: each.format for each in (*self.rows, row)}
        alone = row.format and [*shown.values()].count(row.format) == 1
        return str(row.format) if alone else row.name

    def shown(self, row: ModelRow) -> str:
        """The ranking score of a row in figures."""
        score = self.score(row)
        assert score is not None
        return numbers.figure(score.value, unit=score.unit, digits=score.digits)

    def sentence(self, row: ModelRow) -> str:
        """For whom a level is, by what was measured; empty where nothing was."""
        if self.key is None:
            return ""
        score = self.score(row)
        if score is None or row.size_bytes is None:
            return "not measured"
        if row.same_as and any(other.name == row.same_as for other in self.comparison.rows):
            return f"the same tensors as {self.labels.get(row.same_as, row.same_as)}"
        if row.dominated_by:
            rival = self.labels.get(row.dominated_by, row.dominated_by)
            return f"not worth its size: {rival} is no larger and lost less"
        if row not in self.front:
            return self._behind(row, score)
        return self._on_front(row, score)

    def _behind(self, row: ModelRow, score: Score) -> str:
        """A level for which there is a better one that is no larger."""
        assert row.size_bytes is not None
        rival = max(
            (other for other in self.front if (other.size_bytes or 0) <= row.size_bytes),
            key=lambda other: other.size_bytes or 0,
        )
        if self._apart(rival, row):
            return f"not worth its size: {self.named(rival)} is no larger and lost less"
        return f"no larger file is needed: {self.named(rival)} lost no more that could be seen"

    def _on_front(self, row: ModelRow, score: Score) -> str:
        place = self.front.index(row)
        words = ["the least loss up to its size"]
        if len(self.front) == 1:
            words = ["the smallest and the least loss"]
        elif place == 0:
            words = ["the smallest"]
        elif place == len(self.front) - 1:
            words = ["the least loss"]
        smaller = self.front[place - 1] if place else None
        if not is_seen(score, noise_of(score, self.comparison.rows)):
            words.append(f"not told from no loss{self._most(score)}")
        elif smaller is not None and not self._apart(row, smaller):
            words.append(f"not surely less than that of {self.named(smaller)}")
        elif smaller is not None and score.name == _RATIO:
            words.append(self._beside(row, smaller))
        return ", ".join(words)

    def _most(self, score: Score) -> str:
        """The most that a loss may be which cannot be told from none, where its interval says
        that."""
        bounds = score.delta and interval_of(score.delta)
        if not bounds:
            return ""
        most = max(bounds) if score.better == "lower" else min(bounds)
        return f" (up to {numbers.signed(most, unit=score.unit, digits=score.digits)} is possible)"

    def _beside(self, row: ModelRow, smaller: ModelRow) -> str:
        """The loss of a level as a share of that of the next smaller one, and what it costs."""
        one, other = self.score(row), self.score(smaller)
        assert one is not None and other is not None
        share = one.value / other.value
        larger = (row.size_bytes or 0) / (smaller.size_bytes or 1) - 1
        return f"{share:.0%} of that of {self.named(smaller)} for {larger:.0%} more bytes"

    def _apart(self, better: ModelRow, worse: ModelRow) -> bool:
        """Return whether the intervals of two rows do not meet; True where there are none."""
        one, other = self.score(better), self.score(worse)
        assert one is not None and other is not None
        (low, high), (least, most) = interval(one), interval(other)
        if low is None or high is None or least is None or most is None:
            return True
        return high < least or most < low

    @property
    def _better(self) -> Better:
        score = next(score for row in self.rows if (score := self.score(row)) is not None)
        assert score.better is not None
        return score.better


def _with(key: str, rows: Sequence[ModelRow]) -> list[ModelRow]:
    return [row for row in rows if key in row.scores]


def _ranks(key: str, rows: Sequence[ModelRow]) -> bool:
    having = _with(key, rows)
    return bool(having) and role(having[0].scores[key]) == "quality"


def _place(key: str, rows: Sequence[ModelRow]) -> int:
    name = _with(key, rows)[0].scores[key].name
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)
