"""The region of a terminal that is drawn anew while a run goes on: no row is wider than it.

Figures win over bars: where there is no room for both, the bar goes first, then the amount becomes
a percentage, and last the name is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from qpipe.report import numbers
from qpipe.report.run_state import Active, amount
from qpipe.report.text import printable

if TYPE_CHECKING:
    from rich.text import Text

_GAP = 2
_BAR = 24
_SHORTEST_BAR = 8
_SHORTEST_NAME = 8


@dataclass(frozen=True)
class Region:
    """All that is drawn: what goes on, how many ``nodes`` have ``ended``, and about how many
    seconds are ``left`` of the whole. Times in seconds since the epoch."""

    active: Sequence[Active]
    nodes: int
    ended: int
    since: float
    now: float
    left: float | None = None

    def later(self, now: float) -> Region:
        """Return the same at a later time: seconds to go become fewer."""
        passed = now - self.now
        active = [
            replace(each, left=None if each.left is None else max(0.0, each.left - passed))
            for each in self.active
        ]
        left = None if self.left is None else max(0.0, self.left - passed)
        return replace(self, active=active, left=left, now=now)

    def rows(self, width: int, most: int, *, ascii_only: bool = False) -> list[Text]:
        """Return at most ``most`` rows for what goes on, and one or two for the rest."""
        from rich.text import Text

        shown = self.active[:most]
        lines = _laid_out([_cells(each, self.now) for each in shown], width, ascii_only=ascii_only)
        if len(self.active) > most:
            lines.append(Text(f"… and {len(self.active) - most} more", "dim"))
        lines.append(Text(self._whole(width), "dim"))
        return lines

    def _whole(self, width: int) -> str:
        """The run in one line: what is least worth goes where it would be too long."""
        elsewhere = sum(each.waiting for each in self.active)
        parts = [
            f"{self.ended} of {self.nodes} nodes",
            f"{len(self.active) - elsewhere} running",
            f"{elsewhere} waiting for another process" if elsewhere else "",
            numbers.duration(max(0.0, self.now - self.since)),
            "" if self.left is None else f"about {numbers.duration(self.left)} to go",
        ]
        for least in (None, 2, 1, 3):
            if least is not None:
                parts[least] = ""
            line = " · ".join(filter(None, parts))
            if len(line) <= width:
                break
        return line[:width]


class _Cells(NamedTuple):
    """The cells of a row: long and short forms, and the share that is done (None: not known)."""

    name: str
    amount: str
    percent: str
    to_go: str
    short_to_go: str
    gone: str
    share: float | None


def _cells(node: Active, now: float) -> _Cells:
    gone = numbers.duration(max(0.0, now - node.since))
    name = printable(node.name)
    if node.waiting:
        return _Cells(name, printable(node.note), "elsewhere", "", "", gone, None)
    share = min(node.done / node.total, 1.0) if node.total else None
    note = printable(node.note)
    percent = note or ("" if share is None else f"{int(100 * share)}%")
    about = "" if node.left is None else f"about {numbers.duration(node.left)}"
    to_go = f"{about} to go" if about else ""
    return _Cells(name, note or printable(amount(node)), percent, to_go, about, gone, share)


def _laid_out(rows: Sequence[_Cells], width: int, *, ascii_only: bool) -> list[Text]:
    """The rows in columns, in the longest form that fits."""
    from rich.cells import cell_len, set_cell_size
    from rich.text import Text

    names = max((cell_len(row.name) for row in rows), default=0)
    figures = [[row.amount, row.to_go, row.gone] for row in rows]
    if names + _width(figures) > width:
        figures = [[row.percent, row.short_to_go, row.gone] for row in rows]
    spare = width - names - _width(figures) - _GAP
    names = max(min(names, names + spare + _GAP), _SHORTEST_NAME)
    bar = min(_BAR, spare) if spare >= _SHORTEST_BAR else 0
    lines = []
    for row, cells in zip(rows, figures, strict=True):
        line = Text(_cut(row.name, names) if cell_len(row.name) > names else row.name)
        line.append(" " * (names - cell_len(line.plain)))
        if bar:
            line.append(" " * _GAP)
            line.append_text(_bar(row.share, bar, ascii_only=ascii_only))
        for column, cell in enumerate(cells):
            size = max(cell_len(other[column]) for other in figures)
            line.append(" " * (_GAP if size else 0) + cell + " " * (size - cell_len(cell)))
        line.rstrip()
        lines.append(
            line if cell_len(line.plain) <= width else Text(set_cell_size(line.plain, width))
        )
    return lines


def _width(rows: Sequence[Sequence[str]]) -> int:
    """The width of columns, each with a gap before it; an empty one has none."""
    from rich.cells import cell_len

    sizes = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    return sum(size + _GAP for size in sizes if size)


def _cut(name: str, width: int) -> str:
    from rich.cells import set_cell_size

    return f"{set_cell_size(name, width - 1).rstrip()}…"


def _bar(share: float | None, width: int, *, ascii_only: bool) -> Text:
    """A bar of that share; blank where it is not known."""
    from rich.text import Text

    if share is None:
        return Text(" " * width)
    done, rest = ("#", "-") if ascii_only else ("━", "─")
    full = int(share * width)
    return Text.assemble((done * full, "green"), (rest * (width - full), "dim"))
