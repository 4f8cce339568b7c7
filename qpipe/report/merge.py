"""One comparison from several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qpipe.errors import UsageError
from qpipe.report.columns import flatten

_NEEDED = ("name", "format", "status", "measurements")


def merge(summaries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of all runs, each model once with all that was measured of it, references first.

    Of a model that several runs made, the last run's row counts. Raises UsageError for rows that
    this version does not understand.
    """
    merged: dict[object, dict[str, Any]] = {}
    for summary in summaries:
        for number, row in enumerate(summary["rows"]):
            _check(row, number, summary)
            # A row without a key is a model that could not be made: nothing to be merged with.
            same = row["key"] or (summary["run"], number)
            merged[same] = _joined(merged.get(same), {**row, "run": summary["run"]})
    ordered = sorted(merged.values(), key=lambda row: not row["reference"])
    return flatten(ordered)


def _check(row: Any, number: int, summary: Mapping[str, Any]) -> None:
    missing = [name for name in _NEEDED if not isinstance(row, Mapping) or name not in row]
    if missing:
        raise UsageError(
            f"run {summary['run']}: rows[{number}] of its run.json has no {', '.join(missing)}; "
            "it was written by another version of qpipe: run its command again"
        )


def _joined(old: Mapping[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    if old is None:
        return new
    keys = {m["key"] for m in new["measurements"]}
    kept = [m for m in old["measurements"] if m["key"] not in keys]
    return {**new, "measurements": [*kept, *new["measurements"]]}
