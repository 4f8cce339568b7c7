"""One small sweep that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import qpipe
from qpipe.core.events import Event


@dataclass(frozen=True)
class Swept:
    session: qpipe.Session
    before: qpipe.RunPlan
    comparison: qpipe.Comparison
    events: Sequence[Event]


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Two levels and their reference, measured on a few windows."""
    folder: Path = tmp_path_factory.mktemp("session")
    session = qpipe.load(
        "local",
        "model.source=builtin:tinystories-d256",
        "quantize.type=Q8_0,Q4_0",
        "evaluate.chunks=2",
        sweep=True,
        store=folder / "store",
        runs=folder / "runs",
    )
    before = session.plan()
    events: list[Event] = []
    comparison = session.run(events.append)
    return Swept(session, before, comparison, events)
