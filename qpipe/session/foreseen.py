"""What is known of a run before it starts: what would fail, and a disk too small for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from qpipe.core.forecast import Forecast
from qpipe.errors import OutOfSpaceError, QpipeError
from qpipe.session.forecasts import planned
from qpipe.session.inputs import AvailableInputs, available
from qpipe.session.planned import PlannedNode
from qpipe.session.previews import previews
from qpipe.session.refusals import refusals
from qpipe.session.totals import totals


def foreseen(
    forecasts: Sequence[Forecast], store: Path, *, must_fit: bool
) -> Mapping[str, QpipeError]:
    """Map ids of nodes to the errors that they would fail with.

    Raises OutOfSpaceError, if the run ``must_fit``, where the disk of the store has no room for
    what is certain to be written there.
    """
    with available(forecasts) as inputs:
        errors = refusals(forecasts, inputs)
        if must_fit and not errors:
            _require_room(forecasts, inputs, store)
    return errors


def _require_room(forecasts: Sequence[Forecast], inputs: AvailableInputs, store: Path) -> None:
    coming = previews(forecasts, inputs)
    nodes = [planned(item, coming) for item in forecasts if not item.made_before]
    if problem := totals([_certain(node) for node in nodes], store).problem:
        raise OutOfSpaceError(f"{problem}. With --keep-going it starts all the same")


def _certain(node: PlannedNode) -> PlannedNode:
    """A node whose size is not known unless it is exact."""
    return node if node.precision == "exact" else replace(node, preview=None)
