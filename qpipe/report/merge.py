"""One comparison from several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qpipe.report.checked import Summary
from qpipe.results.comparison import Comparison, ModelRow


def merge(summaries: Sequence[Summary]) -> Comparison:
    """The comparison of several runs: each model once with all that was measured of it, references
    first.

    Of a model that several runs made, the last run's row counts.
    """
    merged: dict[object, ModelRow] = {}
    for summary in summaries:
        for number, row in enumerate(summary.rows):
            # A row without a key is a model that could not be made: nothing to be merged with.
            same = row.key or (summary.run, number)
            merged[same] = _joined(merged.get(same), replace(row, run=summary.run))
    return Comparison.of(sorted(merged.values(), key=lambda row: not row.reference))


def _joined(old: ModelRow | None, new: ModelRow) -> ModelRow:
    if old is None:
        return new
    keys = {each.key for each in new.measurements}
    kept = [each for each in old.measurements if each.key not in keys]
    return replace(new, measurements=(*kept, *new.measurements))
