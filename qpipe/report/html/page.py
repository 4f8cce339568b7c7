"""The HTML file: its parts put together, and every word of it escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe import __version__
from qpipe.report.html import data, library, provenance
from qpipe.report.repeats import with_means
from qpipe.report.table import RIGHT, Column, Table, by_model
from qpipe.report.text import printable
from qpipe.results.comparison import Comparison, ModelRow

if TYPE_CHECKING:
    from qpipe.report.runs import Summary

_SCRIPTS = tuple(
    f"{name}.js"
    for name in (
        "base",
        "table",
        "pick",
        "charts",
        "tensors",
        "sensitivity",
        "graph",
        "watch",
        "page",
    )
)

# Models that are named below the title.
_NAMES = 4

# Headings that are words; those of scores are names.
_HEADINGS = ("name", "format", "size", "status")

_BLANK = re.compile(r"\{\{(\w+)\}\}")


def page(
    table: Table,
    title: str,
    runs: Sequence[Summary] = (),
    *,
    version: str | None = None,
    part: bool = False,
) -> str:
    """Return the whole file; ``runs`` are those that the rows are of.

    One with a ``version`` asks its server for later ones (watch.js), of which only the ``part``
    without scripts and style is needed.
    """
    words = json.loads(_asset("words.json"))
    script = library.script()
    models = by_model(table.comparison)
    tensors = {key: of for run in runs for key, of in run.tensors.items()}
    losses = [
        (str(node.get("name")), run.losses[node["key"]])
        for run in runs
        for node in run.nodes
        if node.get("key") in run.losses
    ]
    document = {"words": words, **data.document(models, tensors, losses)}
    parts = {
        "title": escape(printable(title)),
        "subtitle": escape(printable(_subtitle(table, document["models"]))),
        "connect": "" if version is None else "; connect-src 'self'",
        "watch": "" if version is None else f' data-version="{escape(version)}"',
        "style": "" if part else _asset("page.css"),
        "tables": "\n".join(_tables(models)),
        "notes": "\n".join(f"<li>{escape(line)}</li>" for line in table.footnotes),
        "runs": "\n".join(map(provenance.section, runs)),
        "version": escape(__version__),
        "library": escape(library.credit(script)),
        "data": _json(document),
        "script": "" if part else f"{script}\n</script>\n<script>\n{_own_script()}",
    }
    return _BLANK.sub(lambda blank: parts[blank[1]], _asset("page.html"))


def style() -> str:
    """Return the style of the page, for others in its form."""
    return _asset("page.css") + "\n"


def _own_script() -> str:
    """The page's own script: its parts share names, and nobody else's."""
    parts = "\n\n".join(map(_asset, _SCRIPTS))
    return f'"use strict";\n(() => {{\n{parts}\n}})();'


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8").rstrip("\n")


def _json(document: object) -> str:
    """JSON that ends no script element and begins no comment."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _subtitle(table: Table, models: Sequence[str]) -> str:
    texts = [m.measurement.on.text for row in table.rows for m in row.measurements]
    count = f"{len(table.rows)} models" if len(table.rows) != 1 else "1 model"
    names = [*filter(None, models)]
    more = [f"{len(names) - _NAMES} more"] if len(names) > _NAMES else []
    parts = [", ".join(names[:_NAMES] + more), count, ", ".join(dict.fromkeys(filter(None, texts)))]
    return " · ".join(filter(None, parts))


def _tables(models: Mapping[str, Comparison]) -> Iterator[str]:
    """A table for each model that rows were made from."""
    first = 0
    for name, comparison in models.items():
        yield _table(Table(comparison), name, first)
        first += len(comparison.rows)


def _table(table: Table, name: str, first: int) -> str:
    """A table whose rows are numbered from ``first`` on."""
    columns = table.columns
    head = "".join(
        f'<th scope="col"{_side(column.side)}>{_heading(column.heading)}</th>' for column in columns
    )
    label = escape(name or "models")
    caption = f"<caption>{escape(name)}</caption>" if name else ""
    lines = "\n".join(
        _line(row, number, columns, data.row_id(first + number), name)
        for number, row in enumerate(table.rows)
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">\n<table>{caption}\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody>{_means(table)}\n</table>\n</div>"
    )


def _heading(heading: str) -> str:
    if heading in _HEADINGS:
        return f'<span data-word="column_{heading}">{heading}</span>'
    return escape(heading)


def _means(table: Table) -> str:
    """The foot of a table with repeats: their means, which are neither sorted nor filtered."""
    rows, columns = with_means(table.rows, table.columns)
    lines = "\n".join(
        "<tr>"
        + "".join(_cell(column, number, place) for place, column in enumerate(columns))
        + "</tr>"
        for number, row in enumerate(rows)
        if row is None
    )
    return f"\n<tfoot>\n{lines}\n</tfoot>" if lines else ""


def _line(row: ModelRow, number: int, columns: Sequence[Column], row_id: str, model: str) -> str:
    cells = [
        _cell(column, number, place, status=row.status) for place, column in enumerate(columns)
    ]
    kind = ' class="reference"' if row.reference else ""
    about = f' data-id="{row_id}" data-model="{escape(model)}"'
    return f"<tr{kind}{about}>{''.join(cells)}</tr>"


def _cell(column: Column, number: int, place: int, *, status: str | None = None) -> str:
    cell, value = column.cells[number], column.values[number]
    kind = f' class="{cell}"' if cell and cell == status else _side(column.side)
    sort = f' data-value="{value}"' if isinstance(value, (int, float)) else ""
    tag, scope = ("td", "") if place else ("th", ' scope="row"')
    return f"<{tag}{scope}{kind}{sort}>{escape(cell)}</{tag}>"


def _side(side: str) -> str:
    return ' class="r"' if side == RIGHT else ""
