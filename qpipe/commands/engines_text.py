"""What is installed, as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from qpipe.report import numbers, text

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
    """Yield a line for each environment that was made or removed."""
    for record in records:
        size = f", {numbers.size(record['bytes'])} removed" if "bytes" in record else ""
        yield f"{record['name']}: {record['path']}{size}"


def _lines(inventory: Inventory) -> Iterator[str]:
    rows = [
        [
            record["stage"],
            " ".join(f"{name}={value}" for name, value in record["chosen_by"].items()),
            ", ".join(f"{name} {value[:16]}" for name, value in record["tools"].items()),
            "works" if record["usable"] else "no",
        ]
        for record in inventory.stages
    ]
    yield text.table(("STAGE", "CHOSEN BY", "TOOLS", "HERE"), rows)
    for record in inventory.stages:
        if record["problem"]:
            name = " ".join([record["stage"], *record["chosen_by"].values()])
            yield f"\n{name}: {record['problem']}"
    for plugin in inventory.broken_plugins:
        yield f"\n{plugin}; {plugin.fix}"
    if inventory.environments:
        rows = [
            [e["name"], numbers.size(e["bytes"]), "" if e["current"] else "older", e["path"]]
            for e in inventory.environments
        ]
        yield "\n" + text.table(("ENVIRONMENT", "SIZE", "", "PATH"), rows, right="lrll")
        yield "\nqpipe engines remove NAME takes them away"
