"""The rows of a table that are asked for: ``--rows 'format=Q4_*,model=*8B'``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qpipe.errors import UsageError
from qpipe.published.filtering import FIELDS, Filter, parse
from qpipe.published.load import TableFile
from qpipe.published.schema import Kind, PublishedValue

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
