"""Stages, engines and evaluators that other distributions offer, through entry points.

A distribution names a Stage class under one of the `GROUPS`. An entry point that cannot be loaded
is passed over, so that every command that does without it works; `Plugins.broken` lists it for
`qpipe engines`, `qpipe doctor` and the error of a recipe that needs it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata

from qpipe.stages.base import Params, Stage

GROUPS = ("qpipe.stages", "qpipe.engines", "qpipe.evaluators")

# Characters of another's message that are shown.
_MOST = 300


@dataclass(frozen=True)
class BrokenPlugin:
    """An entry point that gives no stage: its distribution (with version), group, name, the object
    that it names, and what went wrong."""

    distribution: str
    group: str
    name: str
    target: str
    problem: str

    def __str__(self) -> str:
        """The plugin and its problem, on one line."""
        return (
            f"the plugin {self.name!r} of {self.distribution} (entry point {self.group}: "
            f"{self.target}) could not be loaded: {self.problem}"
        )

    @property
    def fix(self) -> str:
        """Advice for the user: repair, upgrade or uninstall it."""
        name = self.distribution.split()[0]
        return f"repair or upgrade it, or take it away: pip uninstall {name}"


@dataclass(frozen=True)
class Plugins:
    """The stage classes of other distributions, and the entry points that give none."""

    stages: Sequence[type[Stage]]
    broken: Sequence[BrokenPlugin]


@cache
def plugins() -> Plugins:
    """Everything under `GROUPS` in this interpreter's path, each entry point loaded once."""
    stages: list[type[Stage]] = []
    broken: list[BrokenPlugin] = []
    for group in GROUPS:
        for point in metadata.entry_points(group=group):
            loaded = _load(point)
            if isinstance(loaded, str):
                target = point.value
                broken.append(BrokenPlugin(_origin(point), group, point.name, target, loaded))
            else:
                stages.append(loaded)
    return Plugins(stages, broken)


def source_files() -> list[str]:
    """Return the files of all modules that plugins have loaded of their own packages, by path: a
    stage's version, parameters and needs stand in them, and editable ones change in place."""
    packages = {stage.__module__.partition(".")[0] for stage in plugins().stages}
    modules = [m for name, m in sys.modules.items() if name.partition(".")[0] in packages]
    return sorted({file for m in modules if (file := getattr(m, "__file__", None))})


def _load(point: metadata.EntryPoint) -> type[Stage] | str:
    """The stage class of an entry point, or why it gives none."""
    try:
        value = point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001  another's code, which may raise anything
        return in_words(error)
    return _misfit(value) or value


def is_shipped(stage: type[Stage]) -> bool:
    """Tell whether a stage comes with qpipe."""
    return stage.__module__.startswith("qpipe.")


def in_words(error: BaseException) -> str:
    """Return type and message of another's exception on one line, cut where it is long."""
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return words if len(words) <= _MOST else f"{words[:_MOST]}…"


def problem(stage: type[Stage]) -> str | None:
    """The reason why a stage cannot run here, or None; for a plugin's also that its check fails."""
    try:
        return stage.check()
    except Exception as error:
        if is_shipped(stage):
            raise
        return f"its check fails: {in_words(error)}"


def _misfit(value: object) -> str | None:
    """Why an object is no stage that a recipe can use, or None."""
    if not (isinstance(value, type) and issubclass(value, Stage)):
        return f"it is no subclass of {Stage.__module__}.{Stage.__name__}"
    if inspect.isabstract(value):
        lacking = ", ".join(sorted(value.__abstractmethods__))
        return f"it has no method {lacking}"
    for name, kind in (("kind", str), ("version", int)):
        if not isinstance(getattr(value, name, None), kind):
            return f"it declares no {name} ({kind.__name__})"
    params = getattr(value, "Params", None)
    if not (isinstance(params, type) and issubclass(params, Params)):
        return f"its Params is no subclass of {Params.__module__}.{Params.__name__}"
    return None


def _origin(point: metadata.EntryPoint) -> str:
    """``NAME VERSION`` of the distribution that offers an entry point."""
    if point.dist is None:
        return "an unknown distribution"
    return f"{point.dist.name} {point.dist.version}"
