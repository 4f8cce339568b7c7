"""A comparison as tables, which every format draws, and the lines below them.

Columns are for people, records for programs; the lines say how rows were measured, what ended
early, and give warnings and failures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from qpipe.report import footnotes
from qpipe.report.blocks import Block, blocks
from qpipe.report.columns import RATES, RIGHT, Column, columns
from qpipe.report.repeats import SD, repeats
from qpipe.report.text import printable
from qpipe.results import record
from qpipe.results.comparison import Comparison, ModelRow

__all__ = ["RATES", "RIGHT", "Column", "Table", "by_model"]


class Table:
    """All parts of a table that a format draws; every word is `printable`, whoever wrote it."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    @property
    def rows(self) -> Sequence[ModelRow]:
        """The rows of the comparison, one for each line."""
        return self.comparison.rows

    @cached_property
    def columns(self) -> Sequence[Column]:
        """The columns as people read them; a row that is the same as another says so in the
        first."""
        first, *others = columns(self.comparison)
        same = [f" = {row.same_as}" if row.same_as else "" for row in self.rows]
        named = [cell + more for cell, more in zip(first.cells, same, strict=True)]
        return [
            each._replace(heading=printable(each.heading), cells=[*map(printable, each.cells)])
            for each in (first._replace(cells=named), *others)
        ]

    @property
    def head(self) -> list[str]:
        """The headings of the columns."""
        return [column.heading for column in self.columns]

    @property
    def body(self) -> list[list[str]]:
        """The cells, line by line."""
        return [
            [column.cells[number] for column in self.columns] for number in range(len(self.rows))
        ]

    @property
    def sides(self) -> str:
        """A letter a column, `LEFT` or `RIGHT`."""
        return "".join(column.side for column in self.columns)

    def blocks(self, *, width: int | None = None) -> Sequence[Block]:
        """The rows in `blocks` that are no wider than so many characters; they have one model."""
        return blocks(self.comparison, width=width)

    @cached_property
    def footnotes(self) -> Sequence[str]:
        """The lines below the table: how rows were measured, and what is to be known of them."""
        lines = (*footnotes.ways(self.rows), *footnotes.remarks(self.rows, self._marks))
        return [*map(printable, lines)]

    @cached_property
    def _marks(self) -> set[str]:
        """The words of all headings and cells."""
        every = (cell for column in self.columns for cell in (column.heading, *column.cells))
        return {word for cell in every for word in cell.split()}

    @cached_property
    def remarks(self) -> Sequence[str]:
        """The lines below blocks, whose captions say how rows were measured: by what, and what is
        to be known of them."""
        lines = (*footnotes.tools(self.rows), *footnotes.extents(self.rows))
        marks = self._marks | ({SD} if repeats(self.rows) else set())
        return [*map(printable, (*lines, *footnotes.remarks(self.rows, marks)))]

    @cached_property
    def records(self) -> Sequence[Mapping[str, Any]]:
        """The rows as programs read them, with every field."""
        return record.rows(self.comparison)


def by_model(comparison: Comparison) -> dict[str, Comparison]:
    """Split a comparison by the models that rows were made from; '' where no run says it.

    Texts and protocols of one model stand for themselves: scores have no names that tell them from
    another model's.
    """
    rows: dict[str, list[ModelRow]] = {}
    for row in comparison.rows:
        rows.setdefault(printable(row.model or ""), []).append(row)
    return {model: Comparison.of(of_model) for model, of_model in rows.items()}
