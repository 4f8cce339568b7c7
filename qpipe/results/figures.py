"""What a node was foreseen to take, and what it took, as run.json has both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class NodeFigures:
    """Bytes of what a node makes, seconds, and bytes of memory at its peak; None: not known."""

    size_bytes: int | None = None
    seconds: float | None = None
    peak_rss: int | None = None

    def record(self) -> dict[str, Any]:
        """The figures as run.json has them."""
        return asdict(self)


def read(record: Any) -> NodeFigures | None:
    """The figures of a record of somebody else's; None for what is none."""
    if not isinstance(record, Mapping):
        return None
    size, seconds, memory = (record.get(name) for name in ("size_bytes", "seconds", "peak_rss"))
    return NodeFigures(_whole(size), _number(seconds), _whole(memory))


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and 0 <= value < 1e18 else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
