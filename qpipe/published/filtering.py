"""Expressions that choose rows of a table, as ``--rows`` and errata have them:
``format=Q4_*,model=*8B``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from qpipe.errors import UsageError, nearest
from qpipe.published.schema import PublishedValue


def _model(value: PublishedValue) -> list[str]:
    """A model's name, and that without its owner or folder."""
    name = value.row.model or ""
    return [name, name.rstrip("/").rsplit("/", 1)[-1]]


FIELDS: Mapping[str, Callable[[PublishedValue], Sequence[str]]] = {
    "model": _model,
    "format": lambda value: [value.row.format],
    "metric": lambda value: [value.name],
    "engine": lambda value: [value.row.engine or ""],
    "number": lambda value: [str(value.number)],
}
"""What ``--rows`` may ask for, and what of a value it is compared with."""


@dataclass(frozen=True)
class Filter:
    """Patterns by field: those of one field are alternatives, of several all must match."""

    patterns: Mapping[str, Sequence[str]]

    def matches(self, value: PublishedValue) -> bool:
        """True if each field that is asked for matches one of its patterns, in any case."""
        return all(
            any(
                fnmatchcase(text.lower(), pattern.lower())
                for text in FIELDS[field](value)
                for pattern in patterns
            )
            for field, patterns in self.patterns.items()
        )


def parse(expression: str, where: str = "--rows") -> Filter:
    """Read an expression that stands ``where``. Raises UsageError."""
    patterns: dict[str, list[str]] = {}
    for term in expression.split(","):
        field, equals, pattern = (part.strip() for part in term.partition("="))
        if not equals or not pattern:
            raise UsageError(
                f"{where} {expression!r}: {term.strip()!r} is not of the form FIELD=PATTERN, as in "
                f"'format=Q4_*,model=*8B'; fields are {', '.join(FIELDS)}"
            )
        if field not in FIELDS:
            raise UsageError(
                f"{where} {expression!r}: there is no field {field!r}; {nearest(field, FIELDS)}"
            )
        patterns.setdefault(field, []).append(pattern)
    return Filter(patterns)
