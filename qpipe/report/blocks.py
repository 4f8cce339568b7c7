"""A comparison in blocks: a block for each way of measuring, under a caption that says it, in
tables no wider than a terminal.

Where figures of one way are all that a table has, no heading must tell ways apart, and no column
is empty for the rows that were measured otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

from qpipe.report import numbers
from qpipe.report.columns import NAMES, Column, columns
from qpipe.report.repeats import with_means
from qpipe.report.text import printable, width_of
from qpipe.results.comparison import Comparison, ModelRow, measured_twice, way
from qpipe.results.measurement import Evaluation

# A terminal's usual width.
NARROW = 80
_BETWEEN = 2

_Way = tuple[object, ...]


@dataclass(frozen=True)
class Block:
    """A caption that says how all was measured, and columns that stand beside each other.

    Those that have no room there are in blocks of their own, without a caption. ``strong`` are the
    numbers of the lines of references.
    """

    caption: str
    columns: Sequence[Column]
    strong: frozenset[int]

    @property
    def head(self) -> list[str]:
        """The headings of the columns."""
        return [column.heading for column in self.columns]

    @property
    def body(self) -> list[list[str]]:
        """The cells, line by line."""
        return [list(cells) for cells in zip(*(c.cells for c in self.columns), strict=True)]

    @property
    def sides(self) -> str:
        """A letter a column, `columns.LEFT` or `columns.RIGHT`."""
        return "".join(column.side for column in self.columns)


def blocks(comparison: Comparison, *, width: int | None = None) -> list[Block]:
    """The blocks of the rows of one model, quality before speed; ``width`` in characters, None for
    no bound."""
    made: list[Block] = []
    for caption, of_way in _ways(comparison):
        rows, drawn = with_means(of_way.rows, _without_equals(of_way.rows, [*columns(of_way)]))
        strong = [bool(row and row.reference) for row in rows]
        for number, part in enumerate(beside([*map(_printable, drawn)], width)):
            # What has no figure in the first says there why.
            keep = [not number or _has_figures(part, line) for line in range(len(rows))]
            kept = [c._replace(cells=[*compress(c.cells, keep)]) for c in part]
            lines = frozenset(n for n, is_strong in enumerate(compress(strong, keep)) if is_strong)
            made.append(Block("" if number else printable(caption), kept, lines))
    return made


def _has_figures(every: Sequence[Column], line: int) -> bool:
    return any(column.cells[line] for column in every if column.rank != NAMES)


def _without_equals(rows: Sequence[ModelRow], every: Sequence[Column]) -> list[Column]:
    """The columns, with ``= NAME`` in place of the figures of a row that is the same as another."""
    shown = {row.name for row in rows}
    same = {n: row.same_as for n, row in enumerate(rows) if row.same_as in shown and not row.error}
    if not same:
        return [*every]
    first = next(place for place, column in enumerate(every) if column.rank != NAMES)
    drawn = []
    for place, column in enumerate(every):
        cells, values = [*column.cells], [*column.values]
        for number, name in same.items() if column.rank != NAMES else ():
            cells[number], values[number] = f"= {name}" if place == first else "", None
        drawn.append(column._replace(cells=cells, values=values))
    return drawn


def _printable(column: Column) -> Column:
    return column._replace(heading=printable(column.heading), cells=[*map(printable, column.cells)])


# -- ways -----------------------------------------------------------------------------------------


def _ways(comparison: Comparison) -> Iterator[tuple[str, Comparison]]:
    """A caption and the rows of each way of measuring; all rows where nothing was measured.

    Rows that were measured in no way stand in the first.
    """
    rows = comparison.rows
    by_way = _by_way(rows)
    tasks = Counter(key[:-1] for key in by_way)
    captions = {key: _caption(key, parts, tasks[key[:-1]]) for key, parts in by_way.items()}
    shown = [*captions.values()]
    measured = {number for parts in by_way.values() for number in parts}
    for first, (key, parts) in enumerate(by_way.items()):
        numbers = [n for n in range(len(rows)) if n in parts or (not first and n not in measured)]
        of_way = [replace(rows[n], measurements=tuple(parts.get(n, ()))) for n in numbers]
        text = f" (text {str(key[1])[:6]})" if shown.count(captions[key]) > 1 else ""
        yield captions[key] + text, Comparison.of(of_way)
    if rows and not by_way:
        yield "", comparison


def _by_way(rows: Sequence[ModelRow]) -> Mapping[_Way, Mapping[int, list[Evaluation]]]:
    """The measurements by their way and the number of their row; of several tasks each is a way."""
    split_backends = bool(measured_twice([row.measurements for row in rows]))
    by_way: dict[_Way, dict[int, list[Evaluation]]] = {}
    for number, row in enumerate(rows):
        for each in row.measurements:
            for where, part in _tasks(each):
                *how, backend = way(each)
                key = (*how, backend if split_backends else None, where)
                by_way.setdefault(key, {}).setdefault(number, []).append(part)
    return dict(sorted(by_way.items(), key=lambda item: _is_of_speed(item[1])))


def _is_of_speed(parts: Mapping[int, Sequence[Evaluation]]) -> bool:
    return all(each.metric == "speed" for several in parts.values() for each in several)


def _tasks(each: Evaluation) -> Iterator[tuple[str, Evaluation]]:
    """A measurement in parts, one for each task, in whose scores its name is left out."""
    scores = each.measurement.scores
    for where in dict.fromkeys(score.where for score in scores):
        own = tuple(replace(score, where="") for score in scores if score.where == where)
        yield where, replace(each, measurement=replace(each.measurement, scores=own))


def _caption(key: _Way, parts: Mapping[int, Sequence[Evaluation]], tasks: int) -> str:
    """The metrics, the protocol, and the text or the task, in words."""
    every = [each for several in parts.values() for each in several]
    protocol, _, backend, where = key
    text = next((e.measurement.on.text for e in every if e.measurement.on.text), None)
    on = " ".join(filter(None, [str(protocol or ""), text and f"on {text}"]))
    words = [f"{metrics(every)}: {on}", str(where), *_extent(every, tasks), str(backend or "")]
    return "; ".join(filter(None, words))


def metrics(every: Sequence[Evaluation]) -> str:
    """The names of what was measured; that of a reference where it is all."""
    names = dict.fromkeys(each.metric or each.stage for each in every)
    return ", ".join(name for name in names if name != "logprobs" or len(names) == 1)


def _extent(every: Sequence[Evaluation], tasks: int) -> Iterator[str]:
    """The extent of what was measured, the load of the machine, and the noise of the reference."""
    whole = [each.measurement for each in every if each.measurement.sampling is None]
    if tokens := max((m.on.tokens_scored or 0 for m in whole), default=0):
        yield f"{tokens:,} tokens scored"
    if items := max((m.on.items or 0 for m in whole), default=0):
        yield f"{items:,} items" + (f" of {tasks} tasks" if tasks > 1 else "")
    loads = [
        score.value
        for each in every
        for score in each.measurement.scores
        if score.name in ("load_start", "load_end")
    ]
    if loads:
        low, high = f"{min(loads):.1f}", f"{max(loads):.1f}"
        yield f"load average {low}" + (f" to {high}" if high != low else "")
    for each in every:
        for score in each.measurement.scores:
            if score.name == "kld_noise":
                yield f"noise of kld {numbers.figure(score.value)}"


# -- columns that fit -----------------------------------------------------------------------------


def beside(every: Sequence[Column], width: int | None) -> Iterator[list[Column]]:
    """Return the columns in groups that are no wider than that, each with the names of the rows.

    What only says more of the files has no group for itself: other formats have it.
    """
    if width is None:
        yield [*every]
        return
    names = [column for column in every if column.rank == NAMES]
    rest = [column for column in every if column.rank != NAMES]
    while rest:
        fitting = _fitting(rest, width - sum(_width(column) + _BETWEEN for column in names))
        yield [*names, *fitting]
        rest = [column for column in rest if column not in fitting]
        if all(column.of_file for column in rest):
            return


def _fitting(every: Sequence[Column], room: int) -> list[Column]:
    """The columns that have room beside each other, by rank, at least one."""
    taken: list[int] = []
    ranked = sorted(range(len(every)), key=lambda number: every[number].rank)
    for number in ranked:
        needed = _width(every[number])
        if needed <= room or not taken:
            taken.append(number)
            room -= needed + _BETWEEN
    return [every[number] for number in sorted(taken)]


def _width(column: Column) -> int:
    return max(map(width_of, [column.heading, *column.cells]))
