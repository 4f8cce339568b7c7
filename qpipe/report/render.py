"""A comparison as md, csv, json or html, and on a terminal."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from qpipe.report import cells, text

Row = Mapping[str, Any]

_WIDE = 1000

# What Markdown reads as more than itself anywhere (underscores inside a word are none of it), and
# at the beginning of a line.
_MARKUP = re.compile(r"[\\`*<>&|~]|(?<!\w)_|_(?!\w)|(?<=\])[(\[:]")
_LEADING = re.compile(r"^[\[#+=-]")
_ESCAPE = r"\\\g<0>"


def render(rows: Sequence[Row], form: str, *, title: str = "Comparison") -> str:
    """The comparison in one of `FORMS`, ending in a newline."""
    return FORMS[form](rows, title)


def to_terminal(rows: Sequence[Row], stream: IO[str]) -> None:
    """Draw the table: with rich on a terminal, else as plain text."""
    if not any(row["artifact"] for row in rows):
        print("no model was made: there is nothing to compare", file=stream)
        return
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        _rich(rows, stream)
    else:
        head, body, sides = cells.head_and_cells(rows)
        print(text.table(head, body, right=sides), file=stream)
    for line in cells.footnotes(rows):
        print(line, file=stream)


def _rich(rows: Sequence[Row], stream: IO[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    head, body, sides = cells.head_and_cells(rows)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title, side in zip(head, sides, strict=True):
        table.add_column(title, justify="right" if side == "r" else "left", no_wrap=True)
    colours = {"failed": "red", "skipped": "yellow", "cached": "dim", "ran": "green"}
    for row, line in zip(rows, body, strict=True):
        style = "bold" if row["reference"] else ""
        table.add_row(*(Text(cell, style=colours.get(cell, "") or style) for cell in line))
    # On a narrow terminal whole lines that wrap say more than columns that were cut.
    Console(file=stream, width=_WIDE).print(table)


def _markdown(rows: Sequence[Row], title: str) -> str:
    head, body, sides = cells.head_and_cells(rows)
    rules = ["---:" if side == "r" else "---" for side in sides]
    lines = [f"# {_plain(title)}", ""]
    lines += [_piped(map(_plain, head)), _piped(rules)]
    lines += [_piped(map(_plain, line)) for line in body]
    lines += ["", *(f"- {_LEADING.sub(_ESCAPE, _plain(line))}" for line in cells.footnotes(rows))]
    return "\n".join(lines).rstrip() + "\n"


def _plain(words: str) -> str:
    """Words in which Markdown finds no table, no HTML, no link and no emphasis."""
    return _MARKUP.sub(_ESCAPE, text.printable(words))


def _piped(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _csv(rows: Sequence[Row], title: str) -> str:
    out = io.StringIO()
    fields = [name for name in (rows[0] if rows else {"name": ""}) if name != "measurements"]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(_cell, fields))
    for row in rows:
        writer.writerow([_cell(row[name]) for name in fields])
    return out.getvalue()


def _cell(value: Any) -> Any:
    """A number as it is, words without control sequences: a CSV is looked at in a terminal too."""
    if isinstance(value, (list, tuple)):
        value = " ".join(map(str, value))
    return text.printable(value, lines=True) if isinstance(value, str) else value


def _json(rows: Sequence[Row], title: str) -> str:
    document = {"title": title, "rows": list(rows), "notes": cells.footnotes(rows)}
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _html(rows: Sequence[Row], title: str) -> str:
    from qpipe.report.page import page

    return page(rows, title)


FORMS = {"md": _markdown, "csv": _csv, "json": _json, "html": _html}
