"""Every stage, engine and evaluator, and whether it works here; and the environments that some
engines have of their own. Answers are plain records, ready for JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from qpipe.errors import UsageError, nearest

if TYPE_CHECKING:
    from qpipe.environments.environment import Environment
    from qpipe.environments.installation import InstalledEnvironment
    from qpipe.stages.base import Stage
    from qpipe.stages.plugins import BrokenPlugin

_CHOICES = ("method", "metric", "engine", "backend", "to")


@dataclass(frozen=True)
class Inventory:
    """The stages that are installed, the environments on disk, the plugins that do not load."""

    stages: Sequence[dict[str, Any]]
    environments: Sequence[dict[str, Any]]
    broken_plugins: Sequence[BrokenPlugin]


def inventory() -> Inventory:
    """Return what is installed, in the order of kinds; what is missing here is no failure."""
    from qpipe.environments.installation import installed
    from qpipe.stages.plugins import plugins
    from qpipe.stages.registry import all_stages

    stages = [_record(stage) for several in all_stages().values() for stage in several]
    stages.sort(key=lambda record: (record["stage"], sorted(record["chosen_by"].items())))
    on_disk = [_on_disk(environment) for environment in installed(environments().values())]
    return Inventory(stages, on_disk, plugins().broken)


def change(
    how: str, names: Sequence[str], *, python: str | None, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Do one of `install`, `lock` and `remove`, and return a record of each environment."""
    if how == "install":
        return install(names, python=python, say=say)
    return lock(names) if how == "lock" else remove(names, say=say)


def install(
    names: Sequence[str], *, python: str | None, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Make the environments of these engines, by the interpreter ``python`` (default: this one).

    ``say`` takes what goes on. Raises EngineMissingError for one that cannot be made, UsageError
    for a name that is none.
    """
    from qpipe.environments.installation import install as make

    records = []
    for own in map(_environment, names):
        record = make(own, python=python, say=partial(_tell, say, own.name))
        records.append({"name": own.name, "path": str(own.home), **record})
    return records


def _tell(say: Callable[[str], None], name: str, words: str) -> None:
    say(f"{name}: {words}")


def lock(names: Sequence[str]) -> list[dict[str, Any]]:
    """Choose the versions of these engines' environments anew. Raises as `install`."""
    from qpipe.environments import lock_update

    return [
        {
            "name": own.name,
            "path": str(own.requirements_lock_path),
            "distributions": lock_update.make(own),
        }
        for own in map(_environment, names)
    ]


def remove(names: Sequence[str], *, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Take away the environments of these engines, older ones too.

    ``say`` takes what is not there. Raises UsageError for one in use, or a name that is none.
    """
    from qpipe.environments.installation import installed
    from qpipe.environments.installation import remove as take_away

    on_disk = installed(environments().values())
    for name in names:
        if name not in {environment.name for environment in on_disk}:
            _environment(name)  # whose name may be wrong
            say(f"{name}: nothing is installed")
    removed = []
    for environment in on_disk:
        if environment.name in names:
            removed.append(_on_disk(environment))
            take_away(environment)
    return removed


def environments() -> dict[str, Environment]:
    """Return the environments of engines that have one of their own, by name."""
    from qpipe.engines.common.isolated_engine import IsolatedEngine
    from qpipe.stages.registry import all_stages

    stages = [stage for several in all_stages().values() for stage in several]
    own = [stage.environment for stage in stages if issubclass(stage, IsolatedEngine)]
    return {environment.name: environment for environment in own}


def _environment(name: str) -> Environment:
    by_name = environments()
    if name not in by_name:
        raise UsageError(
            f"there is no engine {name!r} with an environment of its own; {nearest(name, by_name)}"
        )
    return by_name[name]


def _on_disk(environment: InstalledEnvironment) -> dict[str, Any]:
    return {
        "name": environment.name,
        "path": str(environment.home),
        "bytes": environment.bytes,
        "current": environment.current,
    }


def _record(stage: type[Stage]) -> dict[str, Any]:
    from qpipe.engines.common.isolated_engine import IsolatedEngine
    from qpipe.stages import plugins

    fields = stage.Params.model_fields
    chosen = {name: fields[name].default for name in _CHOICES if name in fields}
    problem = plugins.problem(stage)
    own = stage.environment if issubclass(stage, IsolatedEngine) else None
    return {
        "stage": stage.kind,
        "chosen_by": {name: value for name, value in chosen.items() if isinstance(value, str)},
        "version": stage.version,
        "tools": _tools(stage),
        "usable": problem is None,
        "problem": problem,
        "lacks": None if problem is None else _lacks(problem),
        "class": f"{stage.__module__}:{stage.__qualname__}",
        "environment": None if own is None else _about(own),
    }


def _lacks(problem: str) -> str:
    """The kind of what is missing: gpu, environment, program, package or other."""
    from qpipe.machine import gpus

    no_gpu = gpus.problem()
    if no_gpu is not None and no_gpu in problem:
        return "gpu"
    if "qpipe engines install" in problem:
        return "environment"
    if "not on PATH" in problem:
        return "program"
    return "package" if "pip install" in problem else "other"


def _about(environment: Environment) -> dict[str, Any]:
    return {
        "name": environment.name,
        "lock": environment.requirements_lock.digest,
        "path": str(environment.home),
        "installed": environment.problem() is None,
        "command": environment.command,
    }


def _tools(stage: type[Stage]) -> dict[str, str]:
    """Versions of the tools that shape the bytes, where they do not depend on parameters."""
    from qpipe.stages.plugins import is_shipped

    try:
        fingerprint = stage.fingerprint(stage.Params.model_construct())
    except AttributeError:  # it reads a parameter that has no default
        return {}
    except Exception:
        if is_shipped(stage):
            raise
        return {}
    return {
        name: value
        for name, value in fingerprint.items()
        if name != "name" and isinstance(value, str)
    }
