"""`qpipe engines`: every stage, engine and evaluator, and whether it works here."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from qpipe.commands.output import print_json
from qpipe.commands.parser import add_json
from qpipe.report import text

if TYPE_CHECKING:
    from qpipe.stages.base import Stage

_CHOICES = ("method", "metric", "engine", "backend", "to")


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    """``--json``."""
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """List them; what is missing here is no failure."""
    from qpipe.stages.find import all_stages

    records = [_record(stage) for stages in all_stages().values() for stage in stages]
    records.sort(key=lambda record: (record["stage"], sorted(record["chosen_by"].items())))
    if args.json:
        print_json({"engines": records})
        return 0
    rows = [
        [
            record["stage"],
            " ".join(f"{name}={value}" for name, value in record["chosen_by"].items()),
            ", ".join(f"{name} {value}" for name, value in record["tools"].items()),
            "works" if record["usable"] else "no",
        ]
        for record in records
    ]
    print(text.table(("STAGE", "CHOSEN BY", "TOOLS", "HERE"), rows))
    for record in records:
        if record["problem"]:
            print(f"\n{_name(record)}: {record['problem']}")
    return 0


def _record(stage: type[Stage]) -> dict[str, Any]:
    fields = stage.Params.model_fields
    chosen = {name: fields[name].default for name in _CHOICES if name in fields}
    problem = stage.check()
    return {
        "stage": stage.kind,
        "chosen_by": {name: value for name, value in chosen.items() if isinstance(value, str)},
        "version": stage.version,
        "tools": _tools(stage),
        "usable": problem is None,
        "problem": problem,
        "class": f"{stage.__module__}:{stage.__qualname__}",
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
