"""`qpipe engines`: every stage, engine and evaluator, and whether it works here; and the
environments that some engines have of their own."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from qpipe.commands.output import print_json
from qpipe.commands.parser import add_json
from qpipe.errors import UsageError, nearest
from qpipe.report import numbers, text

if TYPE_CHECKING:
    from qpipe.environments.environment import Environment
    from qpipe.environments.removing import Installed
    from qpipe.stages.base import Stage

_CHOICES = ("method", "metric", "engine", "backend", "to")


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """``[install|remove|lock NAME…]``, ``--python``, ``--json``."""
    parser.add_argument(
        "do",
        nargs="?",
        metavar="install|remove|lock",
        help="install: make the environments of these engines; remove: take them away, older ones "
        "too; lock: choose their versions anew (for developers; needs uv)",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="engines with one of their own")
    parser.add_argument(
        "--python",
        metavar="PATH",
        help="the interpreter to make environments with (default: qpipe's own)",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """List them; what is missing here is no failure. Raises EngineMissingError for an environment
    that cannot be made, UsageError for one in use that is to be removed."""
    if args.do is None:
        return _list(args.json)
    if args.do not in ("install", "remove", "lock"):
        raise UsageError(
            f"qpipe engines {args.do}: it is install, remove or lock, or nothing for the list"
        )
    if not args.names:
        raise UsageError(f"qpipe engines {args.do} NAME: {', '.join(sorted(_environments()))}")
    records = _removed(args.names) if args.do == "remove" else _made(args)
    if args.json:
        print_json({"environments": records})
    else:
        for record in records:
            size = f", {numbers.size(record['bytes'])} removed" if args.do == "remove" else ""
            print(f"{record['name']}: {record['path']}{size}")
    return 0


def _made(args: argparse.Namespace) -> list[dict[str, Any]]:
    environments = [_environment(name) for name in args.names]
    return [_install(e, args.python) if args.do == "install" else _lock(e) for e in environments]


def _removed(names: list[str]) -> list[dict[str, Any]]:
    from qpipe.environments.removing import installed, remove

    found = installed(_environments().values())
    for name in names:
        if name not in {environment.name for environment in found}:
            _environment(name)  # whose name may be wrong
            print(f"{name}: nothing is installed", file=sys.stderr)
    records = []
    for environment in found:
        if environment.name in names:
            records.append(_on_disk(environment))
            remove(environment)
    return records


def _on_disk(environment: Installed) -> dict[str, Any]:
    return {
        "name": environment.name,
        "path": str(environment.home),
        "bytes": environment.bytes,
        "current": environment.current,
    }


def _environments() -> dict[str, Environment]:
    from qpipe.engines.common.isolated_engine import IsolatedEngine
    from qpipe.stages.registry import all_stages

    stages = [stage for several in all_stages().values() for stage in several]
    found = [stage.environment for stage in stages if issubclass(stage, IsolatedEngine)]
    return {environment.name: environment for environment in found}


def _environment(name: str) -> Environment:
    known = _environments()
    if name not in known:
        raise UsageError(
            f"there is no engine {name!r} with an environment of its own; {nearest(name, known)}"
        )
    return known[name]


def _install(environment: Environment, python: str | None) -> dict[str, Any]:
    from qpipe.environments.install import install

    def say(words: str) -> None:
        print(f"{environment.name}: {words}", file=sys.stderr)

    made = install(environment, python=python, say=say)
    return {"name": environment.name, "path": str(environment.home), **made}


def _lock(environment: Environment) -> dict[str, Any]:
    from qpipe.environments import locking

    count = locking.make(environment)
    return {"name": environment.name, "path": str(environment.lock_file), "distributions": count}


def _list(as_json: bool) -> int:
    from qpipe.environments.removing import installed
    from qpipe.stages.plugins import plugins
    from qpipe.stages.registry import all_stages

    records = [_record(stage) for stages in all_stages().values() for stage in stages]
    environments = [_on_disk(found) for found in installed(_environments().values())]
    records.sort(key=lambda record: (record["stage"], sorted(record["chosen_by"].items())))
    if as_json:
        broken = [asdict(plugin) for plugin in plugins().broken]
        print_json({"engines": records, "environments": environments, "broken_plugins": broken})
        return 0
    rows = [
        [
            record["stage"],
            " ".join(f"{name}={value}" for name, value in record["chosen_by"].items()),
            ", ".join(f"{name} {value[:16]}" for name, value in record["tools"].items()),
            "works" if record["usable"] else "no",
        ]
        for record in records
    ]
    print(text.table(("STAGE", "CHOSEN BY", "TOOLS", "HERE"), rows))
    for record in records:
        if record["problem"]:
            print(f"\n{_name(record)}: {record['problem']}")
    for plugin in plugins().broken:
        print(f"\n{plugin}; {plugin.fix}")
    if environments:
        rows = [
            [e["name"], numbers.size(e["bytes"]), "" if e["current"] else "older", e["path"]]
            for e in environments
        ]
        print("\n" + text.table(("ENVIRONMENT", "SIZE", "", "PATH"), rows, right="lrll"))
        print("\nqpipe engines remove NAME takes them away")
    return 0


def _record(stage: type[Stage]) -> dict[str, Any]:
    from qpipe.engines.common.isolated_engine import IsolatedEngine

    fields = stage.Params.model_fields
    chosen = {name: fields[name].default for name in _CHOICES if name in fields}
    problem = stage.check()
    own = stage.environment if issubclass(stage, IsolatedEngine) else None
    return {
        "stage": stage.kind,
        "chosen_by": {name: value for name, value in chosen.items() if isinstance(value, str)},
        "version": stage.version,
        "tools": _tools(stage),
        "usable": problem is None,
        "problem": problem,
        "class": f"{stage.__module__}:{stage.__qualname__}",
        "environment": None if own is None else _about(own),
    }


def _about(environment: Environment) -> dict[str, Any]:
    return {
        "name": environment.name,
        "lock": environment.lock.digest,
        "path": str(environment.home),
        "installed": environment.problem() is None,
        "command": environment.command,
    }


def _tools(stage: type[Stage]) -> dict[str, str]:
    """Versions of the tools that shape the bytes, where they do not hang on parameters."""
    try:
        fingerprint = stage.fingerprint(stage.Params.model_construct())
    except AttributeError:  # it reads a parameter that has no default
        return {}
    return {
        name: value
        for name, value in fingerprint.items()
        if name != "name" and isinstance(value, str)
    }


def _name(record: dict[str, Any]) -> str:
    return " ".join([record["stage"], *record["chosen_by"].values()])
