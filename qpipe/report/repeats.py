"""Repeats: rows that differ in a seed alone, shown as their mean ± standard deviation."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from qpipe.report.columns import FORMAT, NAMES, Column, error_beside
from qpipe.results.comparison import ModelRow

_SEED = "seed"
SD = "sd"


class Repeat(NamedTuple):
    """A setting that was tried with several seeds: its name without them, and its rows' numbers."""

    name: str
    members: Sequence[int]


def repeats(rows: Sequence[ModelRow]) -> list[Repeat]:
    """The groups of rows with one setting but for its seeds, of those that are not alone."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, row in enumerate(rows):
        settings = [text.partition("=")[::2] for text in row.overrides]
        if not row.reference and any(_is_seed(key) for key, _ in settings):
            others = tuple(sorted(pair for pair in settings if not _is_seed(pair[0])))
            groups.setdefault((row.model, row.format, others), []).append(number)
    return [
        Repeat(_name(rows[members[0]]), members)
        for members in groups.values()
        if len({rows[n].overrides for n in members}) > 1
    ]


def _is_seed(key: str) -> bool:
    return key.lstrip("+~").rsplit(".", 1)[-1] == _SEED


def _name(row: ModelRow) -> str:
    """The name of a row without its seed; without any, as for runs of one model, its format."""
    words = row.name.split(" ")
    others = [word for word in words if not _is_seed(word.partition("=")[0])]
    named = len(others) < len(words) and others
    return " ".join(others) if named else row.format or row.name


def _seed(row: ModelRow) -> str:
    """The words of a row's name that tell its seed; all of it where there are none."""
    words = [word for word in row.name.split(" ") if _is_seed(word.partition("=")[0])]
    return " ".join(words) or row.name


def means(rows: Sequence[ModelRow]) -> list[dict[str, Any]]:
    """The repeats as programs read them: of each score its mean, standard deviation and number."""
    return [
        {
            "name": repeat.name,
            "model": rows[repeat.members[0]].model,
            "rows": [rows[number].name for number in repeat.members],
            "scores": dict(_scores([rows[number] for number in repeat.members])),
        }
        for repeat in repeats(rows)
    ]


def _scores(rows: Sequence[ModelRow]) -> Iterator[tuple[str, Mapping[str, float]]]:
    for key in dict.fromkeys(key for row in rows for key in row.figures):
        values = [value for row in rows if (value := row.figures.get(key)) is not None]
        if len(values) > 1:
            yield key, {"mean": statistics.fmean(values), "sd": statistics.stdev(values),
                        "n": len(values)}  # fmt: skip


def with_means(
    rows: Sequence[ModelRow], columns: Sequence[Column]
) -> tuple[list[ModelRow | None], list[Column]]:
    """The rows and their columns with a line above each repeat's, where the row is None; the single
    ones are indented below it."""
    groups = repeats(rows)
    if not groups:
        return [*rows], [*columns]
    lines: list[int | Repeat] = []
    begin = {repeat.members[0]: repeat for repeat in groups}
    members = {number for repeat in groups for number in repeat.members}
    for number in range(len(rows)):
        if number in begin:
            lines += [begin[number], *begin[number].members]
        elif number not in members:
            lines.append(number)
    drawn = [
        _drawn(column, lines, rows, members, first=place == 0)
        for place, column in enumerate(columns)
    ]
    return [None if isinstance(line, Repeat) else rows[line] for line in lines], drawn


def _drawn(
    column: Column,
    lines: Sequence[int | Repeat],
    rows: Sequence[ModelRow],
    members: set[int],
    *,
    first: bool,
) -> Column:
    cells: list[str] = []
    values: list[float | None] = []
    for line in lines:
        if isinstance(line, Repeat):
            cells.append(f"{line.name} ×{len(line.members)}" if first else _mean(column, line))
            values.append(None)
            continue
        cells.append(f"  {_seed(rows[line])}" if first and line in members else column.cells[line])
        values.append(column.values[line])
    return column._replace(cells=cells, values=values)


def _mean(column: Column, repeat: Repeat) -> str:
    """Mean ± standard deviation of a column's numbers; of equal ones just that."""
    values = [v for number in repeat.members if (v := column.values[number]) is not None]
    if column.show is None or not values:
        cells = {column.cells[number] for number in repeat.members}
        return cells.pop() if column.rank in (NAMES, FORMAT) and len(cells) == 1 else ""
    if len(values) == 1 or (column.of_file and len(set(values)) == 1):
        return column.show(values[0])
    mean, sd = column.show(statistics.fmean(values)), statistics.stdev(values)
    return f"{mean} ± {error_beside(mean, sd) or column.show(sd).lstrip('+')} {SD}"
