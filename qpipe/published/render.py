"""A reproduction on a terminal, and as md, csv, json or html."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import IO

from qpipe.published import cells as words
from qpipe.published.cells import HEAD, SIDES, ModelGroup, cells
from qpipe.published.reproduction import ReproducedValue, Reproduction, document, record
from qpipe.report import text
from qpipe.report.markup import cell, escaped, piped, plain

FORMS = ("md", "csv", "json", "html")
_NARROW = 80
# What goes first where a line is too long.
_LESS = ("difference", "tolerance")
# Characters of formats and of metrics.
_NAMES = (24, 16)


def render(reproduction: Reproduction, form: str) -> str:
    """The reproduction in one of `FORMS`, ending in a newline."""
    if form == "html":
        from qpipe.published.page import page

        return page(reproduction)
    return {"md": _markdown, "csv": _csv, "json": _json}[form](reproduction)


def to_terminal(reproduction: Reproduction, stream: IO[str], width: int | None) -> None:
    """Print the figures by table and model, then why others have none, then the sum."""
    last = None
    for group in words.grouped(reproduction.rows):
        if group.file is not last:
            title = f"{group.file.table.title} ({words.source(group.file)})"
            print(_wrapped(text.printable(title), width), file=stream)
            last = group.file
        if drawn := _drawn(group, width):
            print(drawn, end="\n\n", file=stream)
    for line in _lines(reproduction):
        print(_wrapped(text.printable(line), width), file=stream)


def _drawn(group: ModelGroup, width: int | None) -> str:
    rows = words.with_figures(group.rows)
    if not rows:
        return ""
    body = [[*map(_cut, cells(row)[:2], _NAMES), *cells(row)[2:]] for row in rows]
    drawn = text.fitting(HEAD, body, right=SIDES, width=width or _NARROW, less=_LESS)
    return f"{text.printable(group.model)}\n{drawn}"


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _lines(reproduction: Reproduction) -> Iterator[str]:
    rows = reproduction.rows
    yield from (words.off_line(row) for row in rows if row.word == "off")
    yield from words.reasons(rows)
    yield from filter(None, (*words.marks(rows), words.tolerances(rows)))
    yield words.summary(reproduction)


def _wrapped(line: str, width: int | None) -> str:
    """A line in several on a terminal; elsewhere whole, for who searches it."""
    if width is None:
        return line
    import textwrap

    return textwrap.fill(line, width, subsequent_indent="  ", break_on_hyphens=False)


def _markdown(reproduction: Reproduction) -> str:
    lines: list[str] = []
    last = None
    for group in words.grouped(reproduction.rows):
        if group.file is not last:
            lines += [f"# {plain(group.file.table.title)}", ""]
            lines += [escaped(words.source(group.file)), ""]
            last = group.file
        lines += [f"## {plain(group.model)}", "", *_piped(group.rows), ""]
    lines += [f"- {escaped(line)}" for line in filter(None, _notes(reproduction))]
    return "\n".join(lines).rstrip() + "\n"


def _piped(rows: Sequence[ReproducedValue]) -> Iterator[str]:
    yield piped([*HEAD, "why"])
    yield piped("---:" if side == "r" else "---" for side in SIDES + "l")
    for row in rows:
        why = "" if row.word == "reproduced" else row.verdict.why
        yield piped(map(plain, [*cells(row), why]))


def _notes(reproduction: Reproduction) -> Iterator[str]:
    rows = reproduction.rows
    yield words.summary(reproduction)
    yield from (*words.marks(rows), words.tolerances(rows))
    yield from (f"{name}: {of}" for name, of in words.facts(reproduction).items())


def _csv(reproduction: Reproduction) -> str:
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    records = [record(row) for row in reproduction.rows]
    for each in records:
        each["tolerance_parts"] = "; ".join(
            f"{part['name']} {part['size']:.6g} ({part['why']})" for part in each["tolerance_parts"]
        )
        each["overrides"] = " ".join(each["overrides"])
    writer.writerow(records[0])
    writer.writerows([cell(value) for value in each.values()] for each in records)
    return out.getvalue()


def _json(reproduction: Reproduction) -> str:
    return json.dumps(document(reproduction), indent=1, allow_nan=False) + "\n"
