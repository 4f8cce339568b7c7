"""What is installed, as tables for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from qpipe.report import numbers, text

WIDTH = 100
"""Columns of lines but for paths and commands that are longer."""

_LACKS = {
    "gpu": "lacks an NVIDIA GPU",
    "environment": "lacks its environment",
    "package": "lacks packages",
    "program": "lacks a program on PATH",
    "other": "does not work here",
}
Record = Mapping[str, Any]

if TYPE_CHECKING:
    from qpipe.session.engines import Inventory


def listing(inventory: Inventory) -> str:
    """Return a table of the stages, what is wrong with some, and a table of environments."""
    return "\n".join(_lines(inventory))


def document(inventory: Inventory) -> dict[str, Any]:
    """Return the inventory as ``--json`` gives it."""
    return {
        "engines": inventory.stages,
        "environments": inventory.environments,
        "broken_plugins": [asdict(plugin) for plugin in inventory.broken_plugins],
    }


def changed_lines(records: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each environment that was made or removed, two for one fetched."""
    for record in records:
        where = f"{record['name']}: {record['path']}"
        size = numbers.size(record["bytes"]) if "bytes" in record else ""
        if "files" in record:
            yield f"{where}, {record['files']} files, {size}, for {record['python']}"
            yield f"there: {record['command']}"
        else:
            yield f"{where}, {size} removed" if size else where


def _lines(inventory: Inventory) -> Iterator[str]:
    yield from _usable([record for record in inventory.stages if record["usable"]])
    for kind, title in _LACKS.items():
        if lacking := [record for record in inventory.stages if record["lacks"] == kind]:
            yield f"\n{title}"
            yield from _lacking(lacking, kind)
    for plugin in inventory.broken_plugins:
        yield from ("", *_wrapped(f"{plugin}; {plugin.fix}", ""))
    if inventory.environments:
        rows = [
            [e["name"], numbers.size(e["bytes"]), "" if e["current"] else "older", e["path"]]
            for e in inventory.environments
        ]
        yield "\n" + text.table(("ENVIRONMENT", "SIZE", "", "PATH"), rows, right="lrll")
        yield "\nqpipe engines remove NAME takes them away"


def _usable(records: Sequence[Record]) -> Iterator[str]:
    """A line for each stage and what is done, with the tools that do it; their versions once."""
    yield "works here"
    plain = [record["stage"] for record in records if not record["chosen_by"]]
    yield from _wrapped(", ".join(plain), "  ")
    groups: dict[tuple[str, str], list[str]] = {}
    for record in records:
        if record["chosen_by"]:
            what, by = _choices(record)
            groups.setdefault((record["stage"], what), []).append(by)
    rows = [
        [f"  {stage}", what, ", ".join(dict.fromkeys(by))] for (stage, what), by in groups.items()
    ]
    yield from text.table(("", "", ""), rows).split("\n")[1:]
    tools = {f"{name} {v[:16]}": None for r in records for name, v in r["tools"].items()}
    yield from _wrapped(f"by {', '.join(sorted(tools))}", "  ")


def _choices(record: Record) -> tuple[str, str]:
    """Split what a stage does from the setting that names the tool: the last of its choices."""
    *what, (name, value) = sorted(record["chosen_by"].items(), key=_is_tool)
    return " ".join(f"{choice}={word}" for choice, word in what), f"{name}={value}"


def _is_tool(choice: tuple[str, str]) -> bool:
    return choice[0] in ("engine", "backend")


def _lacking(records: Sequence[Record], kind: str) -> Iterator[str]:
    """A line for each that lacks something of a kind, those that one command helps in one."""
    by_advice: dict[str, list[str]] = {}
    for record in records:
        advice = record["problem"]
        if kind in ("environment", "package"):
            advice = advice.rpartition(": ")[2]
        by_advice.setdefault(advice, []).append(
            " ".join([record["stage"], *record["chosen_by"].values()])
        )
    for advice, names in by_advice.items():
        yield from _wrapped(f"{', '.join(names)}: {advice}", "  ")


def _wrapped(words: str, before: str) -> list[str]:
    return textwrap.wrap(
        text.printable(words),
        WIDTH,
        initial_indent=before,
        subsequent_indent=f"{before}  ",
        break_on_hyphens=False,
        break_long_words=False,
    )
