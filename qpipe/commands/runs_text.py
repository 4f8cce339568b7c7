"""The runs as a table."""

from __future__ import annotations

from qpipe.report import numbers, text

TYPE_CHECKING = False  # typing's own would cost `qpipe runs` the import of typing
if TYPE_CHECKING:
    from qpipe.session.run_states import Record

_HEAD = ("RUN", "MODELS", "STATUS", "NODES", "TOOK", "BEGAN")

# Columns that go where the terminal is too narrow, the first first.
_DISPENSABLE = ("BEGAN", "TOOK", "NODES")

# Characters of the names of models that are written out; of the others there is the number.
_LONGEST = 24


def table(records: list[Record], now: float, width: int | None) -> str:
    """Return a line for each run; ``now`` in seconds since the epoch. For lines of ``width``
    characters, if one is given, columns are left out."""
    lines = [_line(record, now) for record in records]
    return text.fitting(_HEAD, lines, right="llllrr", width=width, less=_DISPENSABLE)


def _line(record: Record, now: float) -> list[str]:
    order = ("ran", "cached", "failed", "skipped")
    counts = record["counts"]
    return [
        record["name"],
        _models(record["models"]),
        record["status"],
        ", ".join(f"{counts[status]} {status}" for status in order if counts.get(status)),
        numbers.duration(record["seconds"]),
        numbers.age(now - record["started"]),
    ]


def _models(names: list[str]) -> str:
    shown = len(names)
    while shown > 1 and len(", ".join(names[:shown])) > _LONGEST:
        shown -= 1
    return ", ".join(names[:shown]) + (f" +{len(names) - shown}" if len(names) > shown else "")
