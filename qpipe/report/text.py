"""Aligned plain text. Imports nothing."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: str = "") -> str:
    """Columns two spaces apart, under ``head``; ``right`` is a letter a column, ``r`` or ``l``."""
    lines = [list(head), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    sides = right.ljust(len(head), "l")
    return "\n".join(
        "  ".join(
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(line, widths, sides)  # noqa: B905  equal by construction
        ).rstrip()
        for line in lines
    )


def pairs(entries: Sequence[tuple[str, str]], *, indent: str = "") -> str:
    """``name  value`` lines, the values aligned; later lines of a value keep the column."""
    width = max((len(name) for name, _ in entries), default=0)
    lines = []
    for name, value in entries:
        first, *rest = value.split("\n")
        lines.append(f"{indent}{name:<{width}}  {first}".rstrip())
        lines += [f"{indent}{'':<{width}}  {line}" for line in rest]
    return "\n".join(lines)
