"""Every stage, engine and evaluator, and whether it works here; and the environments that some
engines have of their own. Answers are plain records, ready for JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from qpipe.errors import UsageError, nearest
from qpipe.support.files import expanded

if TYPE_CHECKING:
    from qpipe.environments.environment import Environment
    from qpipe.environments.installation import InstalledEnvironment
    from qpipe.stages.base import Stage
    from qpipe.stages.plugins import BrokenPlugin

_CHOICES = ("method", "metric", "engine", "backend", "to")


VERBS = ("install", "fetch", "remove", "lock")
"""What can be done with environments."""
VERBS_IN_WORDS = "install, fetch, remove or lock"


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


@dataclass(frozen=True)
class EnvironmentOptions:
    """Options of `qpipe engines`: ``python`` is an interpreter for install and a version for fetch;
    None is what was not said."""

    python: str | None = None
    source: str | None = None
    torch: str | None = None
    rest: str | None = None
    to: str | None = None
    cuda: str | None = None
    platform: str | None = None

    OF: ClassVar[Mapping[str, Sequence[str]]] = {
        "install": ("python", "source", "torch", "rest"),
        "fetch": ("python", "to", "cuda", "platform"),
    }

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> EnvironmentOptions:
        """Return those among what a command line gave."""
        return cls(**{field.name: given[field.name] for field in fields(cls)})

    def check(self, how: str) -> None:
        """Raise UsageError for an option that ``how`` does not have."""
        for name, value in vars(self).items():
            if value is not None and name not in self.OF.get(how, ()):
                verbs = " and ".join(verb for verb, own in self.OF.items() if name in own)
                option = "from" if name == "source" else name
                raise UsageError(f"qpipe engines {how}: --{option} is for {verbs}")


def change(
    how: str, names: Sequence[str], *, options: EnvironmentOptions, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Do one of `install`, `fetch`, `lock` and `remove`, and return a record of each environment.

    Raises UsageError for an option or a name that is none of its own.
    """
    if how not in VERBS:
        raise UsageError(f"qpipe engines {how}: it is {VERBS_IN_WORDS}, or nothing for the list")
    options.check(how)
    if not names:
        raise UsageError(f"qpipe engines {how} NAME: {', '.join(sorted(environments()))}")
    if how == "install":
        return install(names, options=options, say=say)
    if how == "fetch":
        return fetch(names, options=options, say=say)
    return lock(names) if how == "lock" else remove(names, say=say)


def install(
    names: Sequence[str], *, options: EnvironmentOptions, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Make the environments of these engines.

    ``say`` takes what goes on. Raises EngineMissingError for one that cannot be made, UsageError
    for a name that is none, and a folder that is not there.
    """
    from qpipe.environments.installation import install as make
    from qpipe.environments.package_sources import PackageSources
    from qpipe.environments.wheel_folder import WheelFolder

    sources = PackageSources(
        None if options.source is None else WheelFolder(expanded(options.source)),
        torch_here=options.torch is not None,
        rest_here=options.rest is not None,
    )
    records = []
    for own in map(_environment, names):
        record = make(own, python=options.python, sources=sources, say=_telling(say, own.name))
        records.append({"name": own.name, "path": str(own.home), **record})
    return records


def fetch(
    names: Sequence[str], *, options: EnvironmentOptions, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Gather what the environments of these engines are made of, for a machine without a network.

    ``say`` takes what goes on. Raises UsageError for options that are missing or unknown,
    EngineMissingError for what no index has, SourceError for one that cannot be reached, and
    OutOfSpaceError.
    """
    from qpipe.environments.fetching import Fetching
    from qpipe.environments.target_python import PLATFORMS, TargetPython, minor_version

    if options.to is None:
        raise UsageError("qpipe engines fetch: --to FOLDER says where wheels are to go")
    minor = minor_version(options.python or "")
    if minor is None:
        said = "" if options.python is None else f" {options.python}: it is no version"
        raise UsageError(f"--python{said or ':'} give the Python that is there, e.g. 3.12")
    if options.cuda is not None and not re.fullmatch(r"\d{2}(\.\d+)?", options.cuda):
        raise UsageError(f"--cuda {options.cuda}: give the CUDA that is there, e.g. 13 or 12.8")
    platform = options.platform or PLATFORMS[0]
    if platform not in PLATFORMS:
        raise UsageError(f"--platform {platform}: it is {' or '.join(PLATFORMS)}")
    environments = [*map(_environment, names)]
    target, to = TargetPython.elsewhere(minor, platform), expanded(options.to)
    records = []
    for own in environments:
        got = Fetching(to, target, options.cuda, _telling(say, own.name)).fetch(own)
        there = "" if options.cuda else " --torch here"
        command = f"qpipe engines install {own.name} --from FOLDER{there}"
        about = {"name": own.name, "path": str(to), "python": str(target), "command": command}
        records.append({**about, **asdict(got)})
    return records


def digest(name: str) -> str:
    """Return the name of the folder of an engine's environment. Raises UsageError for no name."""
    return _environment(name).home.name


def _telling(say: Callable[[str], None], name: str) -> Callable[[str], None]:
    return partial(_tell, say, name)


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
    from qpipe.evaluators.common import vllm_environment as vllm
    from qpipe.stages.registry import all_stages

    stages = [stage for several in all_stages().values() for stage in several]
    own = [stage.environment for stage in stages if issubclass(stage, IsolatedEngine)]
    return {environment.name: environment for environment in (*own, vllm.CPU, vllm.CUDA)}


def _environment(name: str) -> Environment:
    from qpipe.evaluators.common import vllm_environment as vllm

    by_name = {**environments(), vllm.ASKED_AS: vllm.environment()}
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
    from qpipe.evaluators.common import vllm_environment as vllm
    from qpipe.stages import plugins

    own_fields = stage.Params.model_fields
    chosen = {name: own_fields[name].default for name in _CHOICES if name in own_fields}
    problem = plugins.problem(stage)
    own = stage.environment if issubclass(stage, IsolatedEngine) else None
    if chosen.get("backend") == vllm.ASKED_AS:
        own = vllm.environment()
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
