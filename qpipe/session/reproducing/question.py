"""What is asked of published tables."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qpipe.errors import RecipeError
from qpipe.published.load import TableFile, find_table, load, shipped_tables
from qpipe.published.schema import Kind


@dataclass(frozen=True)
class Question:
    """``rows`` as ``--rows`` takes them, values of ``only`` one kind, and whether to ``plan``
    alone. ``command`` is how it is asked again."""

    files: Sequence[TableFile]
    rows: str | None = None
    only: Kind | None = None
    plan: bool = False
    command: Sequence[str] = ()

    @property
    def options(self) -> list[str]:
        """The options by which it is asked again."""
        rows = ["--rows", shlex.quote(self.rows)] if self.rows else []
        return [*rows, *(["--only", self.only] if self.only else [])]

    @property
    def name(self) -> str:
        """A name for what is asked about."""
        return self.files[0].name if len(self.files) == 1 else "published"


def question(
    tables: Sequence[str],
    *,
    rows: str | None = None,
    only: Kind | None = None,
    plan: bool = False,
) -> Question:
    """Read the tables that are asked about.

    Raises RecipeError for one that is not there, or is none.
    """
    names = [shlex.quote(table) for table in dict.fromkeys(tables)]
    asked = Question(files_of(tables), rows, only, plan)
    return replace(asked, command=["qpipe", "repro", *names, *asked.options])


def files_of(tables: Sequence[str]) -> list[TableFile]:
    """The tables of these names and paths, each once; without any all that ship with qpipe.

    Raises RecipeError.
    """
    paths = [find_table(name) for name in tables] or [*shipped_tables().values()]
    if not paths:
        raise RecipeError("no table ships with this qpipe; give the path of a YAML file")
    return [load(path) for path in {path.resolve(): path for path in paths}.values()]
