"""How right estimates were, as a table and as a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qpipe.commands.output import print_json, say, width
from qpipe.errors import UsageError
from qpipe.report import numbers, text
from qpipe.session.estimating.accuracy import ForecastError


def told(model: str | None, store: str, runs: str, *, as_json: bool) -> int:
    """Print how near forecasts came. Raises UsageError where a model is named."""
    from qpipe.session.estimating import accuracy

    if model is not None:
        raise UsageError(f"--how-right is of all runs and the whole store: leave {model} out")
    found = accuracy.errors(Path(store), Path(runs))
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
        return [
            "Nothing was foreseen yet, by runs or of what the store holds: run something first."
        ]
    rows = [
        [
            *(each.stage, each.quantity + "*" * (each.basis == "store"), str(each.count)),
            *(_actual(each), f"{each.median:.2%}", f"{each.worst:+.2%}", each.name),
        ]
        for each in found
    ]
    head = ("STAGE", "WHAT", "N", "ACTUAL", "MEDIAN", "WORST", "WHICH IS")
    bases = {each.basis for each in found}
    return [
        text.fitting(head, rows, right="llrrrrl", width=width(), less=("ACTUAL",)),
        "",
        *["Forecast over actual, as runs foresaw it and as it came."] * ("runs" in bases),
        *_WORKED_OUT * ("store" in bases),
    ]


_WORKED_OUT = (
    "* no run has a record of it: worked out of the store; sizes from config.json,",
    "  seconds and memory from the other nodes of the kind.",
)


def _actual(each: ForecastError) -> str:
    seconds = each.quantity == "seconds"
    return numbers.duration(each.actual) if seconds else numbers.size(each.actual)
