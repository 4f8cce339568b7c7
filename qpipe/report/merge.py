"""One comparison from several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qpipe.report.columns import flatten


def merge(summaries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of all runs, each model once with all that was measured of it, references first.

    Of a model that several runs made, the last run's row counts. ``summaries`` have been through
    `runs.read_summary`.
    """
    merged: dict[object, dict[str, Any]] = {}
    for summary in summaries:
        for number, row in enumerate(summary["rows"]):
            # A row without a key is a model that could not be made: nothing to be merged with.
            same = row["key"] or (summary["run"], number)
            merged[same] = _joined(merged.get(same), {**row, "run": summary["run"]})
    ordered = sorted(merged.values(), key=lambda row: not row["reference"])
    return flatten(ordered)


def _joined(old: Mapping[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    if old is None:
        return new
    keys = {m["key"] for m in new["measurements"]}
    kept = [m for m in old["measurements"] if m["key"] not in keys]
    return {**new, "measurements": [*kept, *new["measurements"]]}
