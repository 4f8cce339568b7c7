"""What a collection of artifacts takes away, for people and as JSON."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe.report import numbers, text

if TYPE_CHECKING:
    from qpipe.core.worth import Candidate, Collection
    from qpipe.session.removal import Removal

_HEAD = ("KEY", "MODEL", "NAME", "FREES", "UNUSED", "TO REBUILD", "WHY")

# Columns that go where the terminal is too narrow, the first first.
_DISPENSABLE = ("UNUSED", "TO REBUILD")


def document(
    collection: Collection, models: Mapping[str, str | None], store: Path, dry_run: bool
) -> dict[str, Any]:
    """Return a collection as ``--json`` gives it; ``models`` as for `lines`."""
    return {
        "store": str(store.absolute()),
        "dry_run": dry_run,
        "freed_bytes": collection.freed,
        "rebuild_seconds": collection.rebuild_seconds,
        "removed": [_record(candidate, models) for candidate in collection.removed],
        "kept": [_record(candidate, models) for candidate in collection.kept],
    }


def lines(
    collection: Collection, models: Mapping[str, str | None], *, dry_run: bool, width: int | None
) -> Iterator[str]:
    """Yield a table of the artifacts that go, for lines of ``width`` characters, the sums, and why
    the rest was spared. ``models`` are the names of artifacts' models by key."""
    if collection.removed:
        now = time.time()
        rows = [
            [c.key[:12], models.get(c.key) or "", text.beside(models.get(c.key), c.name),
             numbers.size(c.size), numbers.age(now - c.last_used),
             numbers.duration(c.rebuild_seconds), _why(c)]
            for c in collection.removed
        ]  # fmt: skip
        yield text.fitting(_HEAD, rows, right="lllrrrl", width=width, less=_DISPENSABLE)
    again = numbers.duration(collection.rebuild_seconds)
    remaining = numbers.size(_remaining_bytes(collection))
    yield (
        f"{'would remove' if dry_run else 'removed'} {len(collection.removed)} artifact(s), "
        f"{numbers.size(collection.freed)} ({again} to make again); "
        f"{'would keep' if dry_run else 'kept'} {len(collection.kept)}, {remaining}"
    )
    reasons = Counter(c.spared for c in collection.kept if c.spared)
    yield from (f"spared {count}: {reason}" for reason, count in sorted(reasons.items()))
    if linked := [c.linked for c in collection.kept if c.linked]:
        yield (
            f"{numbers.size(sum(linked))} of {len(linked)} kept artifact(s) are linked from "
            "elsewhere, as from runs' folders, and come free only there: "
            "`qpipe rm --runs-older-than AGE`"
        )


def removal_document(
    removal: Removal, models: Mapping[str, str | None], dry_run: bool
) -> dict[str, Any]:
    """Return what `qpipe rm` removes as ``--json`` gives it."""
    return {
        "dry_run": dry_run,
        "freed_bytes": removal.freed,
        "artifacts": [_record(candidate, models) for candidate in removal.artifacts],
        "runs": [
            {"run": r.name, "path": str(r.path), "status": r.status, "freed_bytes": r.freed}
            for r in removal.runs
        ],
    }


def removal_lines(removal: Removal, *, dry_run: bool) -> Iterator[str]:
    """Yield a line for each artifact and run that `qpipe rm` removes."""
    verb = "would remove" if dry_run else "removing"
    for one in removal.artifacts:
        again = numbers.duration(one.rebuild_seconds)
        yield f"{verb} {one.key[:12]}  {one.name}, {numbers.size(one.size)} ({again} to make again)"
    for run in removal.runs:
        yield f"{verb} {run.path}  ({run.status}), {numbers.size(run.freed)}"
    if not (removal.artifacts or removal.runs):
        yield "nothing to remove"


def still_above(collection: Collection, max_size: int) -> str | None:
    """Return by how much what is left exceeds the limit, in words; None if it does not."""
    remaining = _remaining_bytes(collection)
    if remaining <= max_size:
        return None
    return (
        f"still above --max-size by {numbers.size(remaining - max_size)}: what is left is spared; "
        "`qpipe unpin RUN` lets go of a pinned run"
    )


def _remaining_bytes(collection: Collection) -> int:
    return sum(candidate.size for candidate in collection.kept)


def _why(candidate: Candidate) -> str:
    """Why it goes; of what goes for its size, what a megabyte of it costs."""
    if candidate.why != "size":
        return candidate.why or ""
    return f"size, {numbers.duration(candidate.worth * 1e6)} per MB"


def _record(candidate: Candidate, models: Mapping[str, str | None]) -> dict[str, Any]:
    return {
        "key": candidate.key,
        "name": candidate.name,
        "model": models.get(candidate.key),
        "stage": candidate.stage,
        "size_bytes": candidate.size,
        "last_used": candidate.last_used,
        "rebuild_seconds": candidate.rebuild_seconds,
        "linked_bytes": candidate.linked,
        "spared": candidate.spared,
        "why": candidate.why,
    }
