"""A comparison as md, csv, json or html, and on a terminal."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from qpipe.report import text
from qpipe.report.blocks import NARROW, Block
from qpipe.report.markup import cell, escaped, piped, plain
from qpipe.report.matrix import matrix
from qpipe.report.repeats import means
from qpipe.report.table import RIGHT, Table, by_model
from qpipe.results.comparison import Comparison

if TYPE_CHECKING:
    from qpipe.report.runs import Summary

_WIDE = 1000


def render(
    comparison: Comparison,
    form: str,
    *,
    title: str = "Comparison",
    runs: Sequence[Summary] = (),
) -> str:
    """The comparison in one of `FORMS`, ending in a newline.

    The page says how ``runs`` made it.
    """
    table = Table(comparison)
    if form == "html":
        from qpipe.report.html.page import page

        return page(table, title, runs) + "\n"
    return _PLAIN[form](table, title)


def to_terminal(comparison: Comparison, stream: IO[str]) -> None:
    """Draw the table: with rich on a terminal, else as plain text."""
    if not any(row.artifact or row.measurements for row in comparison.rows):
        print("no model was made: there is nothing to compare", file=stream)
        return
    draw = _rich if stream.isatty() and os.environ.get("TERM") != "dumb" else _text
    terminal = draw is _rich
    width = max(NARROW, shutil.get_terminal_size().columns) if terminal else NARROW
    models = by_model(comparison)
    for model, of_model in models.items():
        if model:
            print(model, file=stream)
        for block in Table(of_model).blocks(width=width):
            draw(block, stream, width)
    for block in matrix(models, width=width):
        draw(block, stream, width)
    for line in Table(comparison).remarks:
        print(_wrapped(line, width if terminal else None), file=stream)


def _wrapped(line: str, width: int | None) -> str:
    """A line in several on a terminal; elsewhere whole, for who searches it."""
    if width is None:
        return line
    import textwrap

    return textwrap.fill(line, width, subsequent_indent="  ", break_on_hyphens=False)


def _text(block: Block, stream: IO[str], width: int) -> None:
    if block.caption:
        print(block.caption, file=stream)
    print(text.table(block.head, block.body, right=block.sides), end="\n\n", file=stream)


def _rich(block: Block, stream: IO[str], width: int) -> None:
    if block.caption:
        print(_wrapped(block.caption, width), file=stream)
    from rich import table as drawn
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.text import Text

    # Two spaces between columns, as in plain text.
    lines = drawn.Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in block.columns:
        justify: Any = "right" if column.side == RIGHT else "left"
        lines.add_column(column.heading, justify=justify, no_wrap=True)
    colours = {"failed": "red", "skipped": "yellow", "cached": "dim", "ran": "green"}
    for number, line in enumerate(block.body):
        style = "bold" if number in block.strong else ""
        lines.add_row(*(Text(cell, style=colours.get(cell, "") or style) for cell in line))
    # rich 15.0 cuts columns off on a narrow terminal; whole lines that wrap say more.
    Console(file=stream, width=_WIDE).print(lines)
    print(file=stream)


def _markdown(table: Table, title: str) -> str:
    lines = [f"# {plain(title)}", ""]
    models = by_model(table.comparison)
    for block in matrix(models):
        lines += _marked_down(block)
    for model, comparison in models.items():
        lines += [f"## {plain(model)}", ""] if model else []
        for block in Table(comparison).blocks():
            lines += _marked_down(block)
    lines += [*(f"- {escaped(line)}" for line in table.remarks)]
    return "\n".join(lines).rstrip() + "\n"


def _marked_down(block: Block) -> Iterator[str]:
    if block.caption:
        yield from (escaped(block.caption), "")
    yield piped(map(plain, block.head))
    yield piped("---:" if side == RIGHT else "---" for side in block.sides)
    yield from (piped(map(plain, line)) for line in block.body)
    yield ""


# What CSV leaves out: what is no single value, and what it has under other names.
_NOT_IN_CSV = ("computed_on", "link", "measurements", "path")


def _csv(table: Table, title: str) -> str:
    import csv
    import io

    out = io.StringIO()
    records = table.records
    every = [n for n in (records[0] if records else {"name": ""}) if n not in _NOT_IN_CSV]
    names = list(dict.fromkeys(["model", "name", *every] if records else every))
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(cell, names))
    for row in records:
        writer.writerow([cell(row[name]) for name in names])
    return out.getvalue()


def _json(table: Table, title: str) -> str:
    document = {
        "title": title,
        "rows": table.records,
        "repeats": means(table.rows),
        "notes": table.footnotes,
        "schema": table.comparison.schema,
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


FORMS = ("md", "csv", "json", "html")
_PLAIN = {"md": _markdown, "csv": _csv, "json": _json}
