"""Values that were copied from another row."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from qpipe.published.rules.survey import SHARES, Contradiction, Survey, SurveyRow
from qpipe.published.schema import Printed

_DIGITS = 3  # fewer significant ones are the same by chance
_DIGITS_WITH_ERROR = 5


def copied_speeds(survey: Survey) -> Iterator[Contradiction]:
    """Two formats with the same digits in all of at least two speeds."""
    for group in survey.groups:
        speeds = {row.number: speeds for row in group if len(speeds := _speeds(row)) > 1}
        for row, other in combinations([row for row in group if row.number in speeds], 2):
            shared = [name for name in speeds[row.number] if name in other.values]
            if len(shared) > 1 and all(_same(row, other, name) for name in shared):
                if row.identity == other.identity:
                    continue
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


def copied_values(survey: Survey) -> Iterator[Contradiction]:
    """A value with its standard error that is another row's to the last digit.

    Shares of right answers are left out: of a thousand questions, formats often get as many right.
    """
    for group in survey.groups:
        for metric in survey.table.metrics:
            before: dict[tuple[str, str], SurveyRow] = {}
            for row in group:
                value = row.values.get(metric)
                if value is None or value.score.partition("[")[0] in SHARES:
                    continue
                if value.kind != "quality" or not _long(value.printed):
                    continue
                printed = (str(value.printed.value), str(value.printed.stderr))
                other = before.setdefault(printed, row)
                if other.identity != row.identity and not _same_file(row, other, metric):
                    words = f"{printed[0]} ± {printed[1]} is also the value of {other}"
                    yield Contradiction("copied_values", row, metric, words)


def _same_file(row: SurveyRow, other: SurveyRow, metric: str) -> bool:
    """True if all else is the same too: two types that are the same file, of a small model."""
    shared = (row.values.keys() & other.values.keys()) - {metric}
    alike = (row.values[name].printed == other.values[name].printed for name in shared)
    return bool(shared) and all(alike)


def _long(printed: Printed) -> bool:
    if printed.stderr is None:
        return False
    digits = len(printed.value.as_tuple().digits)
    return (
        digits >= _DIGITS and digits + len(printed.stderr.as_tuple().digits) >= _DIGITS_WITH_ERROR
    )
