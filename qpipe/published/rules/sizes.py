"""Sizes that contradict bits per weight, or a smaller type's size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import permutations

from qpipe.published.formats import SIZE_ORDERS, PrintedFormat
from qpipe.published.rules.survey import (
    Contradiction,
    Interval,
    Survey,
    SurveyRow,
    agreement,
    interval,
    overlap,
)
from qpipe.published.schema import BYTES

_MARGIN = 0.005  # headers and what else is in a file but weights
_VOCABULARY = (
    16 << 20
)  # bytes of the largest vocabularies, which a whole file has beside its tensors


def size_against_bits(survey: Survey) -> Iterator[Contradiction]:
    """Size and bits per weight of a row that give another number of weights than most rows do."""
    for group in survey.groups:
        for size in survey.metrics("size"):
            for bpw in survey.metrics("bpw"):
                rows = [row for row in group if size in row.values and _has_bits(row, bpw)]
                yield from _weights(rows, size, bpw)


def _has_bits(row: SurveyRow, bpw: str) -> bool:
    return bpw in row.values and interval(row.values[bpw])[0] > 0


def _weights(rows: list[SurveyRow], size: str, bpw: str) -> Iterator[Contradiction]:
    counts = [_count(row, size, bpw) for row in rows]
    if len(rows) < 2:
        return
    weights, most = agreement(counts)
    for row, count in zip(rows, counts, strict=True):
        if overlap(count, (weights * (1 - _MARGIN), weights * (1 + _MARGIN))):
            continue
        middle = (count[0] + count[1]) / 2
        yield Contradiction(
            "size_against_bits",
            row,
            size,
            f"{_printed(row, size)} at {row.values[bpw].printed.value} bits a weight are "
            f"{middle / 1e9:.3f} billion weights; {most} of {len(rows)} rows say "
            f"{weights / 1e9:.3f}",
        )


def _count(row: SurveyRow, size: str, bpw: str) -> Interval:
    """The number of weights by size and bits per weight of a row."""
    metric = row.values[size].metric
    unit = 8 * BYTES[metric.unit or "B"]
    low, high = interval(row.values[size])
    least, most = interval(row.values[bpw])
    beside = 8 * _VOCABULARY if metric.counts == "file" else 0
    return (max(0.0, low * unit - beside) / most, high * unit / least)


def _printed(row: SurveyRow, metric: str) -> str:
    value = row.values[metric]
    return f"{value.printed.value} {value.metric.unit or ''}".strip()


def size_order(survey: Survey) -> Iterator[Contradiction]:
    """A type with a larger size, or more bits, than a type that is larger by construction."""
    for group in survey.groups:
        for metric in survey.metrics("size", "bpw"):
            rows = [row for row in group if metric in row.values and row.format.type]
            yield from _order(rows, metric)


def _order(rows: list[SurveyRow], metric: str) -> Iterator[Contradiction]:
    """Name the rows without which no two contradict each other, the worst first."""
    pairs = sorted(_inverted(rows, metric), key=lambda pair: [row.number for row in pair])
    while pairs:
        involved = Counter(row.number for pair in pairs for row in pair)
        worst = max(involved, key=lambda number: (involved[number], -number))
        smaller, larger = next(pair for pair in pairs if worst in {row.number for row in pair})
        yield Contradiction(
            "size_order",
            smaller if smaller.number == worst else larger,
            metric,
            f"{smaller.row.format} is a smaller type than {larger.row.format}, and has "
            f"{_printed(smaller, metric)} where {larger} has {_printed(larger, metric)}",
        )
        pairs = [pair for pair in pairs if worst not in {row.number for row in pair}]


def _inverted(rows: list[SurveyRow], metric: str) -> Iterator[tuple[SurveyRow, SurveyRow]]:
    """Pairs of which the one of a smaller type is printed larger, beyond rounding."""
    ends = {row.number: interval(row.values[metric]) for row in rows}
    by_format: dict[str, list[SurveyRow]] = {}
    for row in rows:
        by_format.setdefault(row.row.format, []).append(row)
    for some, others in permutations(by_format.values(), 2):
        if not _is_smaller(some[0].format, others[0].format):
            continue
        least = min(ends[row.number][1] for row in others)
        for one in (row for row in some if ends[row.number][0] > least):
            for other in others:
                if ends[one.number][0] > ends[other.number][1]:
                    yield one, other


def _is_smaller(one: PrintedFormat, other: PrintedFormat) -> bool:
    """True if no file of a format can be larger than one of the other."""
    ordered = any(
        one.type in order
        and other.type in order
        and order.index(one.type) < order.index(other.type)
        for order in SIZE_ORDERS
    )
    return ordered and (one.rest == other.rest or one.base or other.base)
