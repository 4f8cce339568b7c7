"""The artifacts in a store, as a table."""

from __future__ import annotations

from qpipe.report import numbers, text

TYPE_CHECKING = False  # typing's own would cost `qpipe ls` the import of typing
if TYPE_CHECKING:
    from typing import Any

_HEAD = ("KEY", "STAGE", "MODEL", "NAME", "FORMAT", "SIZE", "BPW", "PPL", "TOOK", "MADE", "USED")
_SIDES = "lllllrrrrrr"

# Columns that go where the terminal is too narrow, the first first.
_DISPENSABLE = ("STAGE", "BPW", "MADE", "TOOK", "FORMAT", "PPL")


def table(entries: list[dict[str, Any]], now: float, width: int | None = None) -> str:
    """Return a line for each entry; ``now`` in seconds since the epoch. For lines of ``width``
    characters, if one is given, columns are left out."""
    rows = [_row(entry, now) for entry in entries]
    return text.fitting(_HEAD, rows, right=_SIDES, width=width, less=_DISPENSABLE)


def sums(entries: list[dict[str, Any]]) -> list[str]:
    """Return how many artifacts there are, how much they take, and how many are damaged."""
    total = numbers.size(sum(entry["size_bytes"] for entry in entries))
    damaged = sum(entry["status"] == "damaged" for entry in entries)
    lines = [f"{len(entries)} artifact(s), {total}"]
    if damaged:
        lines.append(
            f"{damaged} damaged: `qpipe verify` says why and moves them away; the next run that "
            "needs one makes it again"
        )
    return lines


def _row(entry: dict[str, Any], now: float) -> list[str]:
    damaged = entry["status"] == "damaged"
    ppl, bpw = entry["ppl"], entry["bits_per_weight"]
    return [
        entry["key"][:12],
        entry["stage"] or "-",
        entry["model"] or "",
        "(damaged)" if damaged else text.beside(entry["model"], entry["name"]),
        str(entry["format"] or ""),
        "-" if damaged else numbers.size(entry["size_bytes"]),
        "" if bpw is None else f"{bpw:.2f}",
        "" if ppl is None else f"{ppl:.4f}",
        "-" if damaged else numbers.duration(entry["seconds"]),
        "-" if damaged else numbers.age(now - entry["created"]),
        numbers.age(now - entry["last_used"]),
    ]
