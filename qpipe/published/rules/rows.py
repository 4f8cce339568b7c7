"""Rows that are there twice, are missing, or are a second baseline."""

from __future__ import annotations

from collections.abc import Iterator

from qpipe.published.formats import LADDERS
from qpipe.published.rules.survey import Contradiction, Survey, SurveyRow, interval, overlap


def duplicate_row(survey: Survey) -> Iterator[Contradiction]:
    """A row with model, format and conditions of one before it, and a value of the same metric."""
    earlier: dict[tuple[object, ...], list[SurveyRow]] = {}
    for row in survey.rows:
        before = earlier.setdefault(row.identity, [])
        for other in before:
            shared = sorted(row.values.keys() & other.values.keys())
            if shared:
                same = all(
                    row.values[name].printed == other.values[name].printed for name in shared
                )
                words = "the same values" if same else "other values"
                told = f"{other} is the same model in the same format, with {words}"
                yield Contradiction("duplicate_row", row, None, told)
                break
        before.append(row)


def missing_row(survey: Survey) -> Iterator[Contradiction]:
    """A hole in a ladder of types: Q3_K_S and Q3_K_L are there, and Q3_K_M is not."""
    for group in survey.groups:
        variants: dict[tuple[str | None, ...], dict[str, SurveyRow]] = {}
        for row in group:
            key = (row.row.calibration, row.row.engine, row.row.version, row.format.rest)
            variants.setdefault(key, {})[row.format.type or ""] = row
        for rows in variants.values():
            yield from _holes(rows)
            yield from _halves(rows)


def _holes(rows: dict[str, SurveyRow]) -> Iterator[Contradiction]:
    for ladder in LADDERS:
        there = [name for name in ladder if name in rows]
        if len(there) < 2:
            continue
        between = ladder[ladder.index(there[0]) : ladder.index(there[-1])]
        for name in between:
            if name not in rows:
                ends = f"{rows[there[0]].row.format} and {rows[there[-1]].row.format}"
                words = f"there is no {name}, although there are {ends}"
                yield Contradiction("missing_row", rows[there[0]], None, words)


def _halves(rows: dict[str, SurveyRow]) -> Iterator[Contradiction]:
    """One of S and M alone, where at least two other numbers of bits have both."""
    pairs = [(f"Q{bits}_K_S", f"Q{bits}_K_M") for bits in (3, 4, 5)]
    whole = [pair for pair in pairs if rows.keys() >= set(pair)]
    for pair in pairs:
        there = [name for name in pair if name in rows]
        if len(there) == 1 and len(whole) > 1 and not (there[0] == "Q3_K_S" and "Q3_K_L" in rows):
            missing = pair[0] if there[0] == pair[1] else pair[1]
            words = f"there is no {missing}, although there are {rows[there[0]].row.format} and "
            others = " and ".join(rows[name].row.format for name in whole[0])
            yield Contradiction("missing_row", rows[there[0]], None, words + others)


def two_baselines(survey: Survey) -> Iterator[Contradiction]:
    """Two rows of a model before quantization that differ by more than rounding."""
    for group in survey.groups:
        bases = [row for row in group if row.format.base]
        for at, row in enumerate(bases):
            for other in bases[:at]:
                alike = row.format.type == other.format.type and row.conditions == other.conditions
                if alike and row.identity != other.identity:
                    yield from _differing(row, other)


def _differing(row: SurveyRow, other: SurveyRow) -> Iterator[Contradiction]:
    differing = [
        name
        for name, value in row.values.items()
        if value.kind != "speed"
        and name in other.values
        and not overlap(interval(value), interval(other.values[name]))
    ]
    if differing:
        name, *more = differing
        here, there = row.values[name].printed.value, other.values[name].printed.value
        words = f"{name} is {here}, and {there} in {other}, of the same model"
        told = f"; they differ in {', '.join(more)} too" if more else ""
        yield Contradiction("two_baselines", row, None if more else name, words + told)
