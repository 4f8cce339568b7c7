"""How right estimates were, as a table and as a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qpipe.commands.output import print_json, say
from qpipe.errors import UsageError
from qpipe.report import numbers, text
from qpipe.session.estimating.accuracy import ForecastError


def told(model: str | None, store: str, *, as_json: bool) -> int:
    """Print how near forecasts came. Raises UsageError where a model is named."""
    from qpipe.session.estimating import accuracy

    if model is not None:
        raise UsageError(f"--how-right is of the whole store: leave {model} out")
    found = accuracy.errors(Path(store))
    if as_json:
        print_json("how-right/1", document(found))
    else:
        say("\n".join(lines(found)))
    return 0


def document(found: Sequence[ForecastError]) -> dict[str, Any]:
    """Return the fields of the JSON answer."""
    return {"errors": [asdict(each) for each in found]}


def lines(found: Sequence[ForecastError]) -> list[str]:
    """Return a table, a line for each stage and quantity; a sentence where there is nothing."""
    if not found:
        return ["The store holds nothing that was foreseen: run something first."]
    rows = [
        [
            *(each.stage, each.quantity, str(each.count), _actual(each)),
            *(f"{each.median:.2%}", f"{each.worst:+.2%}", each.name),
        ]
        for each in found
    ]
    head = ("STAGE", "WHAT", "N", "ACTUAL", "MEDIAN", "WORST", "WHICH IS")
    return [
        text.table(head, rows, right="llrrrr"),
        "",
        "Forecast over actual: sizes from config.json; seconds and memory from the other nodes.",
    ]


def _actual(each: ForecastError) -> str:
    seconds = each.quantity == "seconds"
    return numbers.duration(each.actual) if seconds else numbers.size(each.actual)
