"""Contradictions of a table with itself, and which of them its errata already tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qpipe.published.filtering import parse
from qpipe.published.load import TableFile
from qpipe.published.rules import copies, derived, predicted, ranges, rows, sizes
from qpipe.published.rules.survey import Contradiction, Rule, Survey
from qpipe.published.schema import Erratum, PublishedValue

RULES: dict[str, Rule] = {
    "equals_base": derived.equals_base,
    "contradicted_difference": derived.contradicted_difference,
    "contradicted_mean": derived.contradicted_mean,
    "size_against_bits": sizes.size_against_bits,
    "size_against_prediction": predicted.size_against_prediction,
    "size_order": sizes.size_order,
    "duplicate_row": rows.duplicate_row,
    "missing_row": rows.missing_row,
    "two_baselines": rows.two_baselines,
    "copied_speeds": copies.copied_speeds,
    "copied_values": copies.copied_values,
    "impossible_value": ranges.impossible_value,
    "implausible_stderr": ranges.implausible_stderr,
}
"""Every rule, by the kind of what it finds."""


@dataclass(frozen=True)
class Finding:
    """A contradiction: the row's number, counted from 1, and format, the metric if it is one
    value's, the line in the file, and whether the table's errata tell it (``known``)."""

    kind: str
    row: int
    format: str
    metric: str | None
    line: int
    words: str
    known: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as an object of JSON."""
        return dict(vars(self))


def lint(file: TableFile) -> list[Finding]:
    """All contradictions of a table with itself, in the order of its rows."""
    survey = Survey(file.table, file.path.parent)
    errata = [_told(erratum) for erratum in file.table.errata]
    found = [(kind, each) for kind, rule in RULES.items() for each in rule(survey)]
    found.sort(key=lambda each: (each[1].row.number, each[1].metric or "", each[0]))
    return [_finding(file, each, errata) for _, each in found]


def text(file: TableFile, findings: Sequence[Finding]) -> str:
    """Return findings as lines of text, and how many of them are new."""
    lines = [
        f"{file.path.name}:{each.line}: row {each.row} ({each.format})"
        f"{f', {each.metric}' if each.metric else ''}: {each.words} "
        f"[{each.kind}{', known' if each.known else ''}]"
        for each in findings
    ]
    new = sum(not each.known for each in findings)
    known = len(findings) - new
    told = f" ({known} known from its errata)" if known else ""
    count = f"{new or 'no'} new contradiction{'' if new == 1 else 's'}"
    return "\n".join([*lines, f"{file.name}: {count}{told}"])


def answer(files: Sequence[tuple[TableFile, Sequence[Finding]]]) -> dict[str, Any]:
    """Return the findings of several tables as the object that `--json` prints."""
    tables = [
        {"table": file.name, "findings": [each.to_json() for each in findings]}
        for file, findings in files
    ]
    return {"schema": 1, "tables": tables}


_Told = Callable[[Contradiction], bool]


def _told(erratum: Erratum) -> _Told:
    """Return the test that tells if an erratum is of a contradiction: rows, metric and kind."""
    chosen = parse(erratum.rows).matches if erratum.rows else None

    def told(found: Contradiction) -> bool:
        values: list[PublishedValue] = [*found.row.values.values()]
        return (
            (chosen is not None or erratum.kind is not None)
            and (chosen is None or any(chosen(value) for value in values))
            and erratum.kind in (None, found.kind)
            and (found.metric is None or erratum.metric in (None, found.metric))
        )

    return told


def _finding(file: TableFile, found: Contradiction, errata: Sequence[_Told]) -> Finding:
    row, metric = found.row, found.metric
    place = file.place(row.number, metric)
    return Finding(
        kind=found.kind,
        row=row.number,
        format=row.row.format,
        metric=metric,
        line=int(place.rpartition(":")[2]),
        words=found.words,
        known=any(told(found) for told in errata),
    )
