"""The settings of a recipe that a user asks for by a name."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from qpipe.errors import UsageError, nearest
from qpipe.recipe.settings import Group


def chosen(name: str, known: Sequence[Group]) -> list[Group]:
    """Return the groups of that name, or those of a choice, or the groups that have that setting.

    Raises UsageError if there are none.
    """
    found = [g for g in known if name in (g.name, *g.name.split("="))]
    if found:
        return found
    for group in known:
        settings = tuple(setting for setting in group.settings if setting.name == name)
        found += [dataclasses.replace(group, settings=settings)] if settings else []
    if not found:
        names = {part for group in known for part in (group.name, *group.name.split("="))}
        dotted = {setting.name for group in known for setting in group.settings}
        raise UsageError(f"settings: there is no {name!r}; {nearest(name, names | dotted)}")
    return found
