"""A table as rules look at it: rows with their formats read, by model and by metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from qpipe.published.formats import PrintedFormat, read_format
from qpipe.published.schema import PublishedTable, PublishedValue, Row, values

SLACK = 1e-6
"""How much computing in single precision, as sources do, may add to an interval: of its middle."""

SHARES = ("acc", "acc_norm", "exact_match", "same_top_pct")
"""Scores that are a share of all there are."""

Interval: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class SurveyRow:
    """A row completed by what the table shares, with the values it has."""

    number: int
    row: Row
    values: dict[str, PublishedValue]

    @property
    def format(self) -> PrintedFormat:
        """Its format, read."""
        return read_format(self.row.format)

    @property
    def group(self) -> tuple[str | None, ...]:
        """Say what rows of one model measured alike have in common."""
        row = self.row
        return (row.model, row.revision, row.hardware)

    @property
    def conditions(self) -> tuple[object, ...]:
        """The way it was made and measured, as far as the table says."""
        row = self.row
        how = (row.engine, row.version, row.calibration, row.overrides, row.recipe)
        return (*self.group, *how)

    @property
    def identity(self) -> tuple[object, ...]:
        """Its format and conditions, which no two rows of a table have in common."""
        return (self.row.format.upper(), *self.conditions)

    def __str__(self) -> str:
        return f"row {self.number} ({self.row.format})"


@dataclass(frozen=True)
class Contradiction:
    """A finding of a rule: its kind, the row, the metric if it is one of its values, and words."""

    kind: str
    row: SurveyRow
    metric: str | None
    words: str


Rule: TypeAlias = "Callable[[Survey], Iterator[Contradiction]]"


class Survey:
    """A table's rows, in its order; ``folder`` is where its paths start."""

    def __init__(self, table: PublishedTable, folder: Path) -> None:
        self.table, self.folder = table, folder
        by_number: dict[int, SurveyRow] = {}
        for value in values(table):
            row = by_number.setdefault(value.number, SurveyRow(value.number, value.row, {}))
            row.values[value.name] = value
        self.rows = [*by_number.values()]

    @cached_property
    def groups(self) -> list[list[SurveyRow]]:
        """Rows of one model measured on the same hardware, in order."""
        groups: dict[object, list[SurveyRow]] = {}
        for row in self.rows:
            groups.setdefault(row.group, []).append(row)
        return [*groups.values()]

    def metrics(self, *scores: str) -> list[str]:
        """The metrics that are one of these scores."""
        declared = self.table.metrics.items()
        return [name for name, metric in declared if (metric.of or name) in scores]


def interval(value: PublishedValue) -> Interval:
    """Return the numbers that are rounded to the printed digits."""
    return widened(float(value.printed.value), float(value.rounding))


def widened(middle: float, half: float) -> Interval:
    """Return ``middle`` ± ``half``, and a little for the arithmetic."""
    half += SLACK * abs(middle)
    return (middle - half, middle + half)


def overlap(one: Interval, other: Interval) -> bool:
    """True if two intervals have a point in common."""
    return one[0] <= other[1] and other[0] <= one[1]


def agreement(intervals: Sequence[Interval]) -> tuple[float, int]:
    """A point that most of the intervals hold, the middle of the first such stretch; and how many
    do."""
    ends = sorted({end for each in intervals for end in each})
    middles = [*ends, *((a + b) / 2 for a, b in pairwise(ends))]
    counts = Counter({at: sum(lo <= at <= hi for lo, hi in intervals) for at in middles})
    most = max(counts.values())
    best = [at for at, count in counts.items() if count == most]
    first = min(best)
    stretch = [at for at in best if all(_same(at, first, each) for each in intervals)]
    return (min(stretch) + max(stretch)) / 2, most


def _same(one: float, other: float, each: Interval) -> bool:
    return (each[0] <= one <= each[1]) == (each[0] <= other <= each[1])
