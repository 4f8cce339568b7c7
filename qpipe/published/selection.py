"""The rows of a table that are asked for: ``--rows 'format=Q4_*,model=*8B'``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from qpipe.errors import UsageError, nearest
from qpipe.published.load import TableFile
from qpipe.published.schema import Kind, PublishedValue


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

_MOST = 12


@dataclass(frozen=True)
class TableValue:
    """A value in its table."""

    file: TableFile
    value: PublishedValue

    @property
    def place(self) -> str:
        """The file and line where it stands: table.yaml:41."""
        return self.file.place(self.value.number, self.value.name)


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


def parse(expression: str) -> Filter:
    """Read an expression of ``--rows``. Raises UsageError."""
    patterns: dict[str, list[str]] = {}
    for term in expression.split(","):
        field, equals, pattern = (part.strip() for part in term.partition("="))
        if not equals or not pattern:
            raise UsageError(
                f"--rows {expression!r}: {term.strip()!r} is not of the form FIELD=PATTERN, as in "
                f"'format=Q4_*,model=*8B'; fields are {', '.join(FIELDS)}"
            )
        if field not in FIELDS:
            raise UsageError(
                f"--rows {expression!r}: there is no field {field!r}; {nearest(field, FIELDS)}"
            )
        patterns.setdefault(field, []).append(pattern)
    return Filter(patterns)


def selected(
    files: Sequence[TableFile], rows: str | None, only: Kind | None
) -> tuple[list[TableValue], int]:
    """The values that ``rows`` and ``only`` leave, and the number of those of other kinds.

    Raises UsageError for an expression that is wrong, and where nothing is left.
    """
    every = [TableValue(file, value) for file in files for value in file.values]
    wanted = Filter({}) if rows is None else parse(rows)
    matching = [each for each in every if wanted.matches(each.value)]
    if not matching:
        raise UsageError(f"--rows {rows!r} matches nothing; {_there(every, wanted)}")
    chosen = [each for each in matching if only in (None, each.value.kind)]
    if not chosen:
        kinds = _counted(each.value.kind for each in matching)
        raise UsageError(f"--only {only} leaves nothing: the rows have {kinds}")
    return chosen, len(matching) - len(chosen)


def _there(every: Sequence[TableValue], wanted: Filter) -> str:
    """Name what there is in the fields that were asked for."""
    lines = []
    for field in wanted.patterns:
        names = dict.fromkeys(FIELDS[field](each.value)[0] for each in every)
        shown = [name or "(none)" for name in names]
        more = f" and {len(shown) - _MOST} more" if len(shown) > _MOST else ""
        lines.append(f"{field}: {', '.join(shown[:_MOST])}{more}")
    return "there are " + "; ".join(lines)


def _counted(kinds: Iterable[str]) -> str:
    counts: dict[str, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(f"{count} of {kind}" for kind, count in counts.items())
