"""Fields of a ``quantization_config``, each checked when it is asked for.

What another tool wrote, or someone by hand, may be of any type: it is a CheckpointError with file
and dotted field here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError


@dataclass(frozen=True)
class Fields:
    """An object in ``path``, at the dotted field ``where`` ("": the file itself)."""

    path: Path
    where: str
    values: Mapping[str, Any]

    def has(self, name: str) -> bool:
        """True if the field is there and not null."""
        return self.values.get(name) is not None

    def integer(self, *names: str, least: int, most: int, default: int | None = None) -> int:
        """The first of ``names`` that is there. Raises CheckpointError."""
        name, value = self._first(names, default)
        if type(value) is not int or not least <= value <= most:
            raise self.bad(name, f"a whole number from {least} to {most}")
        return value

    def number(self, name: str, *, least: float, most: float) -> Any:
        """A number within bounds, as it is written. Raises CheckpointError."""
        value: Any = self.values.get(name)
        plain = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not plain or not least <= value <= most:
            raise self.bad(name, f"a number from {least:g} to {most:g}")
        return value

    def bits(self, *names: str) -> int:
        """Bits of a weight. Raises CheckpointError."""
        return self.integer(*(names or ("bits",)), least=1, most=8)

    def group_size(self, *names: str, default: int | None = None) -> int:
        """The number of weights that share a scale; -1 is a whole row. Raises CheckpointError."""
        keys = names or ("group_size",)
        size = self.integer(*keys, least=-1, most=1 << 31, default=default)
        if size == 0:
            raise self.bad(self._first(keys, default)[0], "-1, or a number of weights")
        return size

    def flag(self, name: str) -> bool:
        """False where it is not there. Raises CheckpointError."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.bad(name, "true or false")
        return bool(value)

    def text(self, *names: str, default: str | None = None) -> str:
        """The first of ``names`` that is there. Raises CheckpointError."""
        name, value = self._first(names, default)
        if not isinstance(value, str) or len(value) > 1000 or not value.isprintable():
            raise self.bad(name, "a word")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of words, or one; empty where it is not there. Raises CheckpointError."""
        value = self.values.get(name)
        listed = [] if value is None else value if isinstance(value, list) else [value]
        if not all(isinstance(item, str) and item.isprintable() for item in listed):
            raise self.bad(name, "a list of words")
        return list(listed)

    def section(self, name: str) -> Fields:
        """An object inside; empty where it is not there. Raises CheckpointError."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, dict):
            raise self.bad(name, "an object")
        return Fields(self.path, self._dotted(name), value or {})

    def sections(self, name: str) -> Iterator[tuple[str, Fields]]:
        """The objects inside an object, by name. Raises CheckpointError."""
        inside = self.section(name)
        for key in inside.values:
            yield key, inside.section(key)

    def bad(self, name: str, expected: str) -> CheckpointError:
        """The error for a field that should have been ``expected``."""
        shown = f"{self.values[name]!r:.60}" if name in self.values else "missing"
        return CheckpointError(
            f"{self.path}: field {self._dotted(name)!r} is {shown}, not {expected}"
        )

    def _dotted(self, name: str) -> str:
        return f"{self.where}.{name:.80}" if self.where else f"{name:.80}"

    def _first(self, names: tuple[str, ...], default: Any) -> tuple[str, Any]:
        there = next((name for name in names if self.has(name)), None)
        return (names[0], default) if there is None else (there, self.values[there])
