"""Published values with their verdicts, and all that is needed to cite them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qpipe.published.load import TableFile
    from qpipe.published.selection import TableValue
    from qpipe.published.verdict import Verdict

SCHEMA = 1


@dataclass(frozen=True)
class ReproducedValue:
    """A published value and its verdict. ``recipe`` and ``overrides`` are those that reproduce
    it."""

    published: TableValue
    verdict: Verdict
    recipe: str | None = None
    overrides: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """The verdict in a word."""
        return self.verdict.word

    @property
    def model(self) -> str | None:
        """The model as the table names it."""
        return self.published.value.row.model

    @property
    def format(self) -> str:
        """The format as the table prints it."""
        return self.published.value.row.format

    @property
    def metric(self) -> str:
        """The metric as the table calls it."""
        return self.published.value.name

    @property
    def value(self) -> float:
        """The published value."""
        return float(self.published.value.printed.value)

    @property
    def ours(self) -> float | None:
        """Our figure in the same unit; None where there is none."""
        return None if self.verdict.ours is None else self.verdict.ours.value


@dataclass(frozen=True)
class Reproduction:
    """The values that were chosen, in the order of their tables, with their verdicts.

    ``left_out`` are values of other kinds. ``run`` is the name of the run that measured ours (None:
    nothing ran), ``locks`` are commits by recipe, as lock files have them, and ``exit_code`` is
    that of a command.
    """

    rows: Sequence[ReproducedValue]
    tables: Sequence[TableFile]
    planned: bool = False
    left_out: int = 0
    run: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    locks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    exit_code: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows by verdict, those alone that there are."""
        from qpipe.published.verdict import WORDS

        words = [row.word for row in self.rows]
        return {word: words.count(word) for word in WORDS if word in words}


def record(row: ReproducedValue) -> dict[str, Any]:
    """A row as plain data, as `qpipe repro --json` has it."""
    value, verdict = row.published.value, row.verdict
    ours, allowed = verdict.ours, verdict.allowed
    half = None if ours is None else ours.half_width
    return {
        "table": row.published.file.name,
        "place": row.published.place,
        "number": value.number,
        "model": value.row.model,
        "revision": value.row.revision,
        "format": value.row.format,
        "engine": value.row.engine,
        "metric": value.name,
        "score": value.score,
        "kind": value.kind,
        "unit": value.metric.unit,
        "published": float(value.printed.value),
        "printed": str(value.printed.value),
        "ours": None if ours is None else ours.value,
        "ours_half_width": half,
        "predicted": ours is not None and ours.predicted,
        "difference": verdict.difference,
        "tolerance": None if allowed is None else allowed.total,
        "tolerance_parts": [
            {"name": part.name, "size": part.size, "why": part.why}
            for part in (() if allowed is None else allowed.parts)
        ],
        "verdict": verdict.word,
        "why": verdict.why,
        "recipe": row.recipe,
        "overrides": [*row.overrides],
        "protocol": None if ours is None else ours.protocol,
        "text": None if ours is None else ours.text,
        "tokens_sha256": None if ours is None else ours.tokens_sha256,
        "by": None if ours is None else ours.by,
        "key": None if ours is None else ours.key,
    }


def source_record(file: TableFile) -> dict[str, Any]:
    """A table's title and source as plain data."""
    table = file.table
    return {
        "name": file.name,
        "title": table.title,
        "note": table.note,
        "source": table.source.model_dump(),
        "errata": [erratum.model_dump() for erratum in table.errata],
    }


def document(reproduction: Reproduction) -> dict[str, Any]:
    """The whole answer as plain data."""
    return {
        "tables": [source_record(file) for file in reproduction.tables],
        "planned": reproduction.planned,
        "rows": [record(row) for row in reproduction.rows],
        "counts": reproduction.counts,
        "left_out": reproduction.left_out,
        "run": reproduction.run,
        **reproduction.about,
    }
