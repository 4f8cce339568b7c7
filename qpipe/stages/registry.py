"""Finding the stage class behind ``uses`` and its parameters.

Stages are found by file: every concrete Stage class in the modules of their rooms, rooms inside
these left out. Third parties add theirs through entry points (`qpipe.stages.plugins`).
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache

from qpipe.core.key import Json
from qpipe.errors import RecipeError, nearest
from qpipe.stages.base import Stage
from qpipe.stages.plugins import plugins

_ROOMS = ("sources", "calibration", "engines", "evaluators")
# The parameters that choose among the stages of one kind, most telling first.
_CHOOSERS = ("method", "metric", "engine", "backend", "converter")
# Broken plugins that an error lists.
_MOST = 3
# Leaves a choice to what the inputs are.
AUTO = "auto"


@cache
def all_stages() -> Mapping[str, Sequence[type[Stage]]]:
    """Every stage class that is installed, by kind."""
    by_kind: dict[str, list[type[Stage]]] = {}
    shipped = [stage for room in _ROOMS for stage in _shipped(room)]
    for stage in [*shipped, *plugins().stages]:
        by_kind.setdefault(stage.kind, []).append(stage)
    return by_kind


def _shipped(room: str) -> list[type[Stage]]:
    parent = importlib.import_module(f"qpipe.{room}")
    stages = []
    for info in pkgutil.iter_modules(parent.__path__, f"qpipe.{room}."):
        module = importlib.import_module(info.name)
        stages += [
            value
            for value in vars(module).values()
            # The value's own type: to Python 3.10 an alias such as dict[str, str] is a class.
            if issubclass(type(value), type)
            and issubclass(value, Stage)
            and value.__module__ == module.__name__
            and not value.__name__.startswith("_")  # a base of several
            and not inspect.isabstract(value)
        ]
    return stages


def find(
    uses: str,
    params: Mapping[str, Json],
    *,
    field: str,
    formats: Mapping[str, str | None] | None = None,
) -> type[Stage]:
    """The stage class for ``uses`` with these raw parameters.

    Among several of one kind, the one whose own ``method``, ``metric``, ``engine``, ``backend`` or
    ``converter`` (the defaults of its params model) agree with the parameters. One that is left out
    or ``auto``
    becomes that of the first class which accepts inputs of these ``formats``, by role: what is
    installed has no say, so that a plan is the same everywhere. Raises RecipeError, naming
    ``field``, for an unknown kind or choice.
    """
    kinds = all_stages()
    if uses not in kinds:
        raise RecipeError(
            f"{field}.uses: there is no stage {uses!r}; {nearest(uses, kinds)}" + _not_loaded(uses)
        )
    candidates = list(kinds[uses])
    for chooser in _CHOOSERS:
        choices = {_choice(stage, chooser): None for stage in candidates} if candidates else {}
        if set(choices) == {None}:
            continue
        choice = params.get(chooser, AUTO)
        if choice == AUTO:
            able = [stage for stage in candidates if not refused(stage, formats or {})]
            choice = _choice([*able, *candidates][0], chooser)
        agreeing = [stage for stage in candidates if _choice(stage, chooser) == choice]
        if not agreeing:
            if why := next(filter(None, (s.lacking.get(str(choice)) for s in candidates)), None):
                raise RecipeError(f"{field}.{chooser}: {why}")
            values = [str(choice) for choice in choices if choice is not None]
            raise RecipeError(
                f"{field}.{chooser}: there is no {chooser} {choice!r}; "
                + nearest(str(choice), values)
                + _not_loaded(str(choice))
            )
        candidates = agreeing
    return candidates[0]


def _not_loaded(name: str) -> str:
    """A suffix for errors about an unknown name: plugins that may bring it, and do not load."""
    broken = sorted(plugins().broken, key=lambda plugin: (name not in plugin.name, plugin.name))
    more = f"; {len(broken) - _MOST} more: see `qpipe engines`" if len(broken) > _MOST else ""
    shown = "; ".join(map(str, broken[:_MOST]))
    return f" ({shown}{more})" if broken else ""


def refused(stage: type[Stage], formats: Mapping[str, str | None]) -> list[str]:
    """The roles whose inputs are of a format that the stage cannot read; None is unknown."""
    return [
        role
        for role, able in stage.accepts.items()
        if formats.get(role) is not None and formats[role] not in able
    ]


def chosen(stage: type[Stage]) -> dict[str, Json]:
    """The parameters by which a stage class is chosen among those of its kind."""
    values = {chooser: _choice(stage, chooser) for chooser in _CHOOSERS}
    return {chooser: value for chooser, value in values.items() if value is not None}


def settled(stage: type[Stage], params: Mapping[str, Json]) -> dict[str, Json]:
    """``params`` with what was left to choose (``auto``) as the stage found for them has it."""
    own = chosen(stage)
    return {
        name: own[name] if value == AUTO and name in own else value
        for name, value in params.items()
    }


def _choice(stage: type[Stage], chooser: str) -> Json:
    info = stage.Params.model_fields.get(chooser)
    default: Json = info.default if info is not None else None
    return default


def entry(stage: type[Stage]) -> str:
    """The name by which a worker imports a stage class."""
    return f"{stage.__module__}:{stage.__qualname__}"
