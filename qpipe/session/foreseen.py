"""What is known of a run before it starts: what would fail, what would be made, and a disk too
small for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from qpipe.core.forecast import Forecast
from qpipe.errors import OutOfSpaceError, QpipeError
from qpipe.session.forecasts import planned
from qpipe.session.inputs import available
from qpipe.session.outlook import Outlook
from qpipe.session.planned import PlannedNode
from qpipe.session.previews import previews
from qpipe.session.refusals import refusals
from qpipe.session.totals import totals


@dataclass(frozen=True)
class Foreseen:
    """The ``errors`` that nodes would fail with, by id, and what the stages say of the others."""

    errors: Mapping[str, QpipeError]
    coming: Outlook = field(default_factory=dict)


def foreseen(forecasts: Sequence[Forecast], store: Path, *, must_fit: bool) -> Foreseen:
    """Ask the stages of the nodes of a run; where one refuses, nothing but that.

    Raises OutOfSpaceError, if the run ``must_fit``, where the disk of the store has no room for
    what is certain to be written there.
    """
    with available(forecasts) as inputs:
        errors = refusals(forecasts, inputs)
        if errors:
            return Foreseen(errors)
        coming = previews(forecasts, inputs)
    if must_fit:
        _require_room(forecasts, coming, store)
    return Foreseen(errors, coming)


def _require_room(forecasts: Sequence[Forecast], coming: Outlook, store: Path) -> None:
    nodes = [planned(item, coming) for item in forecasts if not item.made_before]
    if problem := totals([_certain(node) for node in nodes], store).problem:
        raise OutOfSpaceError(f"{problem}. With --keep-going it starts all the same")


def _certain(node: PlannedNode) -> PlannedNode:
    """A node whose size is not known unless it is exact."""
    return node if node.precision == "exact" else replace(node, preview=None)
