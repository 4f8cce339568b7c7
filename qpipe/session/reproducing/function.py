"""`qpipe.repro`: published results beside our own, from Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe.core.layout import DEFAULT_RUNS, DEFAULT_STORE

if TYPE_CHECKING:
    from qpipe.core.events import Emit
    from qpipe.published.reproduction import Reproduction
    from qpipe.published.schema import Kind


def repro(
    table: str | Path | Sequence[str | Path],
    rows: str | None = None,
    only: Kind | None = None,
    plan: bool = False,
    *,
    on_event: Emit | None = None,
    store: str | Path | None = None,
    runs: str | Path | None = None,
) -> Reproduction:
    """Run a published table (a name that ships with qpipe, or the path of a YAML file; or several)
    and give each value a verdict; with ``plan`` say only what would run.

    ``rows`` is an expression such as ``"format=Q4_*,model=*8B"``, ``only`` one of sizes, quality
    and speed. What fails or is missing here is a verdict, and keeps nothing else from running.
    ``on_event`` takes the events of `qpipe.core.events`; ``store`` and ``runs`` are as `load` takes
    them.

    Raises UsageError for rows that are not there, RecipeError for a table or a recipe that is
    wrong, before anything runs, and InterruptedRunError.
    """
    from qpipe.core.events import Warned
    from qpipe.session.reproducing.question import question
    from qpipe.session.reproducing.reproduce import context, reproduce

    tables = [table] if isinstance(table, (str, Path)) else [*table]
    asked = question([str(each) for each in tables], rows=rows, only=only, plan=plan)
    where = context(
        asked,
        Path(store or os.environ.get("QPIPE_STORE") or DEFAULT_STORE),
        Path(runs or os.environ.get("QPIPE_RUNS") or DEFAULT_RUNS),
        notify=lambda note: on_event(Warned(note)) if on_event else None,
    )
    return reproduce(asked, where, listeners=[on_event] if on_event else [])
