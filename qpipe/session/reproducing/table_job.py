"""The job behind a published value, as its table says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from qpipe.published.selection import TableValue
from qpipe.recipe.request import Request
from qpipe.support.files import expanded

_LOCAL = "local"


@dataclass(frozen=True)
class TableJob:
    """A job that values of tables need: a recipe (a name, or an absolute path), its overrides, and
    the folder in which relative paths start."""

    recipe: str
    overrides: tuple[str, ...]
    folder: Path

    @property
    def request(self) -> Request:
        """The request that composes it."""
        return Request(self.recipe, self.overrides, alone=True)


def job_of(each: TableValue) -> TableJob | None:
    """The job of a value; None where its table names no recipe.

    The recipe `local` takes the row's model, unless overrides say which.
    """
    value, folder = each.value, each.file.path.parent.absolute()
    if value.recipe is None:
        return None
    recipe, overrides = value.recipe, value.overrides
    if recipe.endswith((".yaml", ".yml")):
        recipe = str(folder / expanded(recipe))
    if recipe == _LOCAL and not any(o.startswith("model.source=") for o in overrides):
        source = [f"model.source={value.row.model}"]
        revision = value.row.revision
        if revision is not None:
            number = re.fullmatch(r"[\d_]+(e\d+)?", revision)  # to Hydra and YAML
            source.append(f"model.revision={repr(revision) if number else revision}")
        overrides = (*source, *overrides)
    return TableJob(recipe, overrides, folder)
