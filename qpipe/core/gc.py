"""Taking old artifacts away: by size and age, never what a living or a pinned run uses."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qpipe.core import lock
from qpipe.core.manifest import Manifest
from qpipe.core.store import Store, move_out, remove_tree
from qpipe.errors import StoreError


@dataclass(frozen=True)
class Candidate:
    """An artifact as gc sees it. ``size`` is the bytes that removing it frees; times in seconds."""

    key: str
    name: str
    size: int
    last_used: float
    rebuild_seconds: float
    spared: str | None = None


@dataclass(frozen=True)
class Collection:
    """What gc removed (or would), and what it kept."""

    removed: Sequence[Candidate]
    kept: Sequence[Candidate]

    @property
    def freed(self) -> int:
        """Bytes of the removed artifacts."""
        return sum(c.size for c in self.removed)

    @property
    def rebuild_seconds(self) -> float:
        """Seconds that making the removed artifacts again would take, by what they took."""
        return sum(c.rebuild_seconds for c in self.removed)


def collect(
    store: Store,
    *,
    max_size: int | None = None,
    max_age: float | None = None,
    dry_run: bool = False,
) -> Collection:
    """Remove artifacts unused for ``max_age`` seconds, then the least recently used above
    ``max_size`` bytes in all.

    Half-written folders of dead processes and quarantined artifacts older than a day go too. With
    ``dry_run`` nothing changes.
    """
    with lock.held(store.paths.gc_lock):
        spared = _spared(store)
        candidates = [_look(store, key, spared.get(key)) for key in store.all_keys()]
        removed = _choose(candidates, max_size=max_size, max_age=max_age)
        doomed = [] if dry_run else [_take_out(store, candidate.key) for candidate in removed]
    for folder in [*doomed, *([] if dry_run else _leftovers(store))]:
        remove_tree(folder)
    gone = {c.key for c in removed}
    return Collection(removed, [c for c in candidates if c.key not in gone])


def pin(store: Store, run: str, keys: Iterable[str]) -> None:
    """Keep the artifacts of a run from gc until `unpin`."""
    lock.write_atomic(store.paths.pins / run, "\n".join(keys).encode())


def unpin(store: Store, run: str) -> None:
    """Let gc have the artifacts of a run again. Raises StoreError if it is not pinned."""
    try:
        (store.paths.pins / run).unlink()
    except FileNotFoundError:
        raise StoreError(f"run {run} is not pinned in {store.paths.root}") from None


def _spared(store: Store) -> dict[str, str]:
    """Why each protected key is protected. Notes of dead runs are removed."""
    spared: dict[str, str] = {}
    for path in _files(store.paths.pins):
        spared.update(dict.fromkeys(path.read_text().split(), f"pinned by run {path.name}"))
    for path in _files(store.paths.active):
        fd = lock.acquire(path, wait=False)
        if fd is None:
            keys = path.read_text().split()
            spared.update(dict.fromkeys(keys, f"in use by process {path.name.split('-')[0]}"))
        else:
            path.unlink()
            os.close(fd)
    return spared


def _look(store: Store, key: str, spared: str | None) -> Candidate:
    folder = store.paths.artifact(key)
    used = folder.stat().st_mtime
    try:
        manifest = Manifest.load(folder)
    except StoreError:
        # Damaged: `qpipe verify` is for that; gc only weighs it.
        return Candidate(key, "(damaged)", _bytes(folder), used, 0.0, spared)
    seconds = manifest.usage.seconds
    return Candidate(key, manifest.name, _bytes(folder), used, seconds, spared)


def _bytes(folder: Path) -> int:
    """What removing a folder frees: files that are links to elsewhere free nothing."""
    stats = [p.lstat() for p in folder.rglob("*") if p.is_file() and not p.is_symlink()]
    return sum(s.st_size for s in stats if s.st_nlink == 1)


def _choose(
    candidates: Sequence[Candidate], *, max_size: int | None, max_age: float | None
) -> list[Candidate]:
    total = sum(c.size for c in candidates)
    oldest = time.time() - max_age if max_age is not None else None
    chosen = []
    for candidate in sorted(candidates, key=lambda c: (c.last_used, c.key)):
        if candidate.spared is not None:
            continue
        too_old = oldest is not None and candidate.last_used < oldest
        too_much = max_size is not None and total > max_size
        if too_old or too_much:
            chosen.append(candidate)
            total -= candidate.size
    return chosen


def _take_out(store: Store, key: str) -> Path:
    target = store.paths.aside / f"{key}.gc-{os.getpid()}"
    target.parent.mkdir(parents=True, exist_ok=True)
    move_out(store.paths.artifact(key), target)
    return target


def _leftovers(store: Store, *, keep: float = 86400.0) -> list[Path]:
    """Folders aside whose maker is dead, and quarantined ones older than ``keep`` seconds."""
    found = []
    for folder in _entries(store.paths.aside):
        fd = lock.acquire(store.paths.lock(folder.name.split(".")[0]), wait=False)
        if fd is not None:
            os.close(fd)
            found.append(folder)
    for folder in _entries(store.paths.quarantine):
        if folder.stat().st_mtime < time.time() - keep:
            found.append(folder)
    return found


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _files(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.is_file()]
