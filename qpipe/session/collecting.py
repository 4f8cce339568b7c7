"""gc as a use case: which artifacts go, of which models they are, and what runs still hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qpipe.core import gc
from qpipe.core.store import ArtifactStore
from qpipe.core.worth import Collection
from qpipe.session import listing
from qpipe.session.run_links import Held, HeldByRuns
from qpipe.session.selection import Selection
from qpipe.support.files import is_folder

MEASUREMENTS = ("evaluate",)
"""Stages whose artifacts are small and dear: gc takes them last."""


@dataclass(frozen=True)
class Collected:
    """The artifacts that gc removed and kept, models' names by key, and what runs' folders hold of
    what was removed, and of what was kept and need not be (None: nothing)."""

    collection: Collection
    models: Mapping[str, str | None]
    held_removed: Held | None = None
    held_kept: Held | None = None


def collected(
    store: ArtifactStore,
    runs: Path,
    *,
    max_size: int | None,
    max_age: float | None,
    only: Selection,
    dry_run: bool,
) -> Collected:
    """Remove artifacts as `qpipe.core.gc.collect` does, of those that ``only`` means.

    Raises UsageError for a name that is none, StoreError if the store cannot be written.
    """
    there = is_folder(store.paths.root)
    models = listing.models(str(store.paths.root)) if there else {}
    holders = HeldByRuns(store, runs) if there else None
    collection = gc.collect(
        store,
        max_size=max_size,
        max_age=max_age,
        last=MEASUREMENTS,
        only=only.keys(store, runs),
        dry_run=dry_run,
    )
    if holders is None:
        return Collected(collection, models)
    return Collected(
        collection,
        models,
        holders.of(candidate.key for candidate in collection.removed),
        holders.of(candidate.key for candidate in collection.kept if not candidate.spared),
    )
