"""Taking old artifacts away: by size and age, never what a living or a pinned run uses."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qpipe.core import lock
from qpipe.core.folders import move_out, remove_tree
from qpipe.core.manifest import Manifest
from qpipe.core.store import Store
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
    ``dry_run`` nothing changes. Raises StoreError if the store cannot be written.
    """
    try:
        return _collect(store, max_size, max_age, dry_run)
    except OSError as error:
        raise store.explain(error) from error


def _collect(
    store: Store, max_size: int | None, max_age: float | None, dry_run: bool
) -> Collection:
    if not store.paths.root.is_dir():
        return Collection([], [])
    # Weighing takes long, so runs need not wait for it; who uses what is asked under the lock.
    weighed = [c for key in store.all_keys() if (c := _weigh(store, key)) is not None]
    if dry_run:
        return _choose(weighed, _spared(store), max_size=max_size, max_age=max_age)
    with lock.held(store.paths.gc_lock):
        found = _choose(weighed, _spared(store), max_size=max_size, max_age=max_age)
        taken = {c.key: _take_out(store, c.key) for c in found.removed}
        _forget_the_dead(store)
    for folder in taken.values():
        if folder is not None:
            remove_tree(folder)
    _clear(store)
    return Collection([c for c in found.removed if taken[c.key] is not None], found.kept)


def pin(store: Store, run: str, keys: Iterable[str]) -> None:
    """Keep the artifacts of a run from gc until `unpin`."""
    try:
        with lock.held(store.paths.gc_lock, shared=True):
            lock.write_atomic(store.paths.pins / run, "\n".join(keys).encode())
    except OSError as error:
        raise store.explain(error) from error


def unpin(store: Store, run: str) -> None:
    """Let gc have the artifacts of a run again. Raises StoreError if it is not pinned."""
    try:
        (store.paths.pins / run).unlink()
    except FileNotFoundError:
        raise StoreError(f"run {run} is not pinned in {store.paths.root}") from None


def _spared(store: Store) -> dict[str, str]:
    """Why each protected key is protected."""
    spared: dict[str, str] = {}
    for path in _files(store.paths.pins):
        spared.update(dict.fromkeys(path.read_text().split(), f"pinned by run {path.name}"))
    for path in _files(store.paths.active):
        if lock.is_held(path):
            reason = f"in use by process {path.name.split('-')[0]}"
            spared.update(dict.fromkeys(path.read_text().split(), reason))
    return spared


def _forget_the_dead(store: Store) -> None:
    """Remove the notes of runs that have ended."""
    for path in _files(store.paths.active):
        fd = lock.acquire(path, wait=False)
        if fd is not None:
            # Before the lock goes: whoever waits for it then sees that the file went.
            path.unlink()
            os.close(fd)


def _weigh(store: Store, key: str) -> Candidate | None:
    """An artifact as a candidate; None if it went away under our eyes."""
    folder = store.paths.artifact(key)
    try:
        used, size = folder.stat().st_mtime, _bytes(folder)
        manifest = Manifest.load(folder)
    except FileNotFoundError:
        return None
    except StoreError:
        # Damaged: `qpipe verify` is for that; gc only weighs it.
        return Candidate(key, "(damaged)", size, used, 0.0) if folder.exists() else None
    return Candidate(key, manifest.name, size, used, manifest.usage.seconds)


def _bytes(folder: Path) -> int:
    """What removing a folder frees: files that are links to elsewhere free nothing."""
    stats = [p.lstat() for p in folder.rglob("*") if p.is_file() and not p.is_symlink()]
    return sum(s.st_size for s in stats if s.st_nlink == 1)


def _choose(
    weighed: Sequence[Candidate],
    spared: Mapping[str, str],
    *,
    max_size: int | None,
    max_age: float | None,
) -> Collection:
    total = sum(c.size for c in weighed)
    oldest = time.time() - max_age if max_age is not None else None
    removed, kept = [], []
    for candidate in sorted(weighed, key=lambda c: (c.last_used, c.key)):
        too_old = oldest is not None and candidate.last_used < oldest
        too_much = max_size is not None and total > max_size
        if candidate.key in spared:
            kept.append(replace(candidate, spared=spared[candidate.key]))
        elif too_old or too_much:
            removed.append(candidate)
            total -= candidate.size
        else:
            kept.append(candidate)
    return Collection(removed, kept)


def _take_out(store: Store, key: str) -> Path | None:
    target = store.paths.aside / f"{key}.gc-{lock.unique()}"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        move_out(store.paths.artifact(key), target)
    except FileNotFoundError:
        return None  # another gc, or quarantine, was quicker
    return target


def _clear(store: Store, *, keep: float = 86400.0) -> None:
    """Remove folders aside whose maker is dead, and quarantined ones older than ``keep`` s."""
    for folder in _entries(store.paths.aside):
        fd = lock.acquire(store.paths.lock(folder.name.split(".")[0]), wait=False)
        if fd is not None:
            try:
                remove_tree(folder)
            finally:
                os.close(fd)
    for folder in _entries(store.paths.quarantine):
        with contextlib.suppress(FileNotFoundError):  # another gc was quicker
            if folder.stat().st_mtime < time.time() - keep:
                remove_tree(folder)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _files(folder: Path) -> list[Path]:
    """The files of a folder; one whose name begins with a dot is half written."""
    return [p for p in _entries(folder) if p.is_file() and not p.name.startswith(".")]
