"""Aligned plain text, in which nothing that a file holds can move the cursor. Imports nothing."""

from __future__ import annotations

from collections.abc import Sequence

_SPACES = "\u00a0\u2009\u202f\u3000"

_LONGEST = 8000
"""Characters of an error message that are shown: names in it may be as long as a file."""


def printable(text: str, *, lines: bool = False) -> str:
    """``text`` as a terminal may show it, invisible characters as ``\\x1b`` or ``\\u202e``.

    These are control sequences, half characters, and what reverses the order of the others. With
    ``lines``, line feeds and tabs stay.
    """
    if text.isprintable():
        return text
    kept = _SPACES + "\n\t" if lines else _SPACES
    return "".join(c if c.isprintable() or c in kept else _escaped(c) for c in text)


def message(text: str) -> str:
    """An error's words as a terminal may show them, the middle cut out of very long ones."""
    if len(text) > _LONGEST:
        side = _LONGEST // 2
        text = f"{text[:side]} … ({len(text) - _LONGEST:,} characters more) … {text[-side:]}"
    return printable(text, lines=True)


def _escaped(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character, f"\\x{number:02x}")
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def width_of(text: str) -> int:
    """The columns of a terminal that a text takes: letters of East Asian scripts take two."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: str = "") -> str:
    """Columns two spaces apart, under ``head``; ``right`` is a letter a column, ``r`` or ``l``."""
    lines = [
        list(head),
        *[[cell if cell.isprintable() else printable(cell) for cell in row] for row in rows],
    ]
    sides = right.ljust(len(head), "l")
    columns = zip(sides, zip(*lines))  # noqa: B905  equal by construction
    padded = [_padded(side, cells) for side, cells in columns]
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*padded))  # noqa: B905


def _padded(side: str, cells: Sequence[str]) -> list[str]:
    """The cells of a column, all of one width."""
    widths = [*map(width_of, cells)]
    widest = max(widths)
    if side == "r":
        return [" " * (widest - width) + cell for width, cell in zip(widths, cells)]  # noqa: B905
    return [cell + " " * (widest - width) for width, cell in zip(widths, cells)]  # noqa: B905


def fitting(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: str,
    width: int | None,
    less: Sequence[str],
) -> str:
    """`table`, without as many of the columns ``less`` as it takes for lines of ``width``."""
    columns = [*range(len(head))]
    for name in ("", *less):
        columns = [column for column in columns if head[column] != name]
        drawn = table(
            [head[column] for column in columns],
            [[row[column] for column in columns] for row in rows],
            right="".join(right[column] for column in columns),
        )
        if width is None or max(map(len, drawn.splitlines())) <= width:
            break
    return drawn


def beside(model: str | None, name: str) -> str:
    """The name of a node beside a column that names its model: ``quantize[Q4_K_M]`` of
    ``quantize[tiny Q4_K_M]``."""
    stage, _, words = name.partition("[")
    if model and words == f"{model}]":
        return stage
    return f"{stage}[{words.removeprefix(f'{model} ')}" if model and words else name


def pairs(entries: Sequence[tuple[str, str]], *, indent: str = "") -> str:
    """``name  value`` lines, the values aligned; later lines of a value keep the column."""
    entries = [(printable(name), printable(value, lines=True)) for name, value in entries]
    width = max((len(name) for name, _ in entries), default=0)
    lines = []
    for name, value in entries:
        first, *rest = value.split("\n")
        lines.append(f"{indent}{name:<{width}}  {first}".rstrip())
        lines += [f"{indent}{'':<{width}}  {line}" for line in rest]
    return "\n".join(lines)
