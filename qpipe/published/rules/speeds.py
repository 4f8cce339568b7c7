"""Speeds that were copied from another row."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from qpipe.published.rules.survey import Contradiction, Survey, SurveyRow

_DIGITS = 3  # fewer significant ones are the same by chance


def copied_speeds(survey: Survey) -> Iterator[Contradiction]:
    """Two formats with the same digits in all of at least two speeds."""
    for group in survey.groups:
        for row, other in combinations(group, 2):
            if row.identity == other.identity:
                continue
            shared = [name for name in _speeds(row) if name in _speeds(other)]
            if len(shared) > 1 and all(_same(row, other, name) for name in shared):
                figures = ", ".join(f"{row.values[name].printed.value} {name}" for name in shared)
                yield Contradiction(
                    "copied_speeds", row, None, f"the speeds are those of {other}: {figures}"
                )
                break


def _speeds(row: SurveyRow) -> list[str]:
    return [name for name, value in row.values.items() if value.kind == "speed"]


def _same(row: SurveyRow, other: SurveyRow, name: str) -> bool:
    value = row.values[name].printed.value
    long = len(value.as_tuple().digits) >= _DIGITS
    return long and str(value) == str(other.values[name].printed.value)
