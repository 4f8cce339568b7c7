"""What a collection of artifacts takes away, for people and as JSON."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpipe.report import numbers, text

if TYPE_CHECKING:
    from qpipe.core.worth import Candidate, Collection
    from qpipe.session.collecting import Collected
    from qpipe.session.removal import Removal
    from qpipe.session.run_links import Held

_HEAD = ("KEY", "MODEL", "NAME", "FREES", "UNUSED", "TO REBUILD", "WHY")

# Columns that go where the terminal is too narrow, the first first.
_DISPENSABLE = ("UNUSED", "TO REBUILD")

# Runs that a command names; of more, it says their age.
_NAMED = 3


def document(done: Collected, *, store: Path, dry_run: bool) -> dict[str, Any]:
    """Return a collection as ``--json`` gives it."""
    collection, models = done.collection, done.models
    return {
        "store": str(store.absolute()),
        "dry_run": dry_run,
        "freed_bytes": collection.freed,
        "rebuild_seconds": collection.rebuild_seconds,
        "removed": [_record(candidate, models) for candidate in collection.removed],
        "kept": [_record(candidate, models) for candidate in collection.kept],
        "removed_held_by_runs": _holding(done.held_removed),
        "kept_held_by_runs": _holding(done.held_kept),
    }


def _holding(held: Held | None) -> dict[str, Any] | None:
    return None if held is None else {"bytes": held.bytes, "runs": list(held.runs)}


def lines(done: Collected, places: str, *, dry_run: bool, width: int | None) -> Iterator[str]:
    """Yield a table of the artifacts that go, for lines of ``width`` characters, the sums, why the
    rest was spared, and how to free what runs hold. ``places`` are options for that command."""
    collection, models = done.collection, done.models
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
    yield from _still_held(done, places)


def _still_held(done: Collected, places: str) -> Iterator[str]:
    """The bytes that links elsewhere hold, and the command that frees them."""
    gone, kept = done.held_removed, done.held_kept
    if gone is not None:
        yield f"{_folders(gone)} {numbers.size(gone.bytes)} of what goes; to free it:"
        yield f"  qpipe rm --models {_older(gone)}{places}"
    if kept is not None:
        held = numbers.size(kept.bytes)
        yield f"{_folders(kept)} {held} of what is kept; to free it, this and then gc again:"
        yield f"  qpipe rm --models {_older(kept)}{places}"
    others = sum(c.linked for c in done.collection.kept if not c.spared)
    if (more := others - (kept.bytes if kept else 0)) > 0:
        yield f"{numbers.size(more)} of what is kept are links to files elsewhere, which stay there"


def _folders(held: Held) -> str:
    one = len(held.runs) == 1
    return "1 run's folder holds" if one else f"{len(held.runs)} runs' folders hold"


def _older(held: Held) -> str:
    """The words that name runs to `qpipe rm`: themselves, or of many the age of the youngest."""
    if len(held.runs) <= _NAMED:
        return " ".join(map(shlex.quote, held.runs))
    age = numbers.age(held.age)
    return f"--runs-older-than {age if age[0].isdecimal() else '0s'}"


def removal_document(
    removal: Removal, models: Mapping[str, str | None], dry_run: bool
) -> dict[str, Any]:
    """Return what `qpipe rm` removes as ``--json`` gives it."""
    return {
        "dry_run": dry_run,
        "freed_bytes": removal.freed,
        "artifacts": [_record(candidate, models) for candidate in removal.artifacts],
        "runs": [
            {
                "run": r.name,
                "path": str(r.path),
                "status": r.status,
                "freed_bytes": r.freed,
                "held_bytes": r.held,
            }
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
        held = f"; {numbers.size(run.held)} of links: `qpipe gc` frees them" if run.held else ""
        yield f"{verb} {run.path}  ({run.status}), {numbers.size(run.freed)}{held}"
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
