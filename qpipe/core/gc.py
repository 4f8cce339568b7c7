"""Taking old artifacts away: by size and age, never what a living or a pinned run uses."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qpipe.core import file_lock
from qpipe.core.manifest import Manifest
from qpipe.core.store import ArtifactStore
from qpipe.errors import StoreError
from qpipe.machine.filesystem import move_out, remove_tree
from qpipe.support.files import is_folder

# Seconds after which a digest that was noted is forgotten; the file is read once more then.
_NOTES_KEPT = 90 * 86400.0


@dataclass(frozen=True)
class Candidate:
    """An artifact as gc sees it; times in seconds.

    ``size`` is the bytes that removing it frees; of a kept one, its share of what the store holds.
    """

    key: str
    name: str
    size: int
    last_used: float
    rebuild_seconds: float
    spared: str | None = None


@dataclass(frozen=True)
class Collection:
    """The artifacts that gc removed (or would), and those that it kept."""

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
    store: ArtifactStore,
    *,
    max_size: int | None = None,
    max_age: float | None = None,
    dry_run: bool = False,
) -> Collection:
    """Remove artifacts unused for ``max_age`` seconds, then the least recently used above
    ``max_size`` bytes in all.

    Half-written folders of dead processes go too, and, when older than a day, what unfinished
    attempts left and quarantined artifacts. With ``dry_run`` nothing changes. Raises StoreError if
    the store cannot be written.
    """
    try:
        return _collect(store, max_size, max_age, dry_run)
    except OSError as error:
        raise store.explain(error) from error


def _collect(
    store: ArtifactStore, max_size: int | None, max_age: float | None, dry_run: bool
) -> Collection:
    if not is_folder(store.paths.root):
        return Collection([], [])
    # Weighing takes long, so runs need not wait for it; who uses what is asked under the lock.
    weighed = [w for key in store.all_keys() if (w := _weigh(store, key)) is not None]
    if dry_run:
        return _choose(weighed, _spared(store), max_size=max_size, max_age=max_age)
    with file_lock.held(store.paths.gc_lock):
        choice = _choose(weighed, _spared(store), max_size=max_size, max_age=max_age)
        taken = {c.key: _take_out(store, c.key) for c in choice.removed}
        _forget_the_dead(store)
    for folder in taken.values():
        if folder is not None:
            remove_tree(folder)
    _clear(store)
    return Collection([c for c in choice.removed if taken[c.key] is not None], choice.kept)


def pin(store: ArtifactStore, run: str, keys: Iterable[str]) -> None:
    """Keep the artifacts of a run from gc until `unpin`."""
    try:
        with file_lock.held(store.paths.gc_lock, shared=True):
            file_lock.write_atomic(store.paths.pins / run, "\n".join(keys).encode())
    except OSError as error:
        raise store.explain(error) from error


def unpin(store: ArtifactStore, run: str) -> None:
    """Let gc have the artifacts of a run again. Raises StoreError if it is not pinned."""
    try:
        (store.paths.pins / run).unlink()
    except FileNotFoundError:
        raise StoreError(f"run {run} is not pinned in {store.paths.root}") from None


def _spared(store: ArtifactStore) -> dict[str, str]:
    """Why each protected key is protected."""
    spared: dict[str, str] = {}
    for path in _files(store.paths.pins):
        spared.update(
            dict.fromkeys(path.read_text(errors="replace").split(), f"pinned by run {path.name}")
        )
    for path in _files(store.paths.active):
        if file_lock.is_held(path):
            reason = f"in use by process {path.name.split('-')[0]}"
            spared.update(dict.fromkeys(path.read_text(errors="replace").split(), reason))
    return spared


def _forget_the_dead(store: ArtifactStore) -> None:
    """Remove the notes of runs that have ended."""
    for path in _files(store.paths.active):
        fd = file_lock.acquire(path, wait=False)
        if fd is not None:
            # Before the lock goes: whoever waits for it then sees that the file went.
            path.unlink()
            os.close(fd)


@dataclass(frozen=True)
class _Weighed:
    """An artifact as a candidate, and its files by inode: (bytes, number of links)."""

    candidate: Candidate
    inodes: Mapping[tuple[int, int], tuple[int, int]]


def _weigh(store: ArtifactStore, key: str) -> _Weighed | None:
    """Look at an artifact; None if it went away under our eyes."""
    folder = store.paths.artifact(key)
    try:
        used, inodes = folder.lstat().st_mtime, _inodes(folder)
        manifest = Manifest.load(folder)
    except FileNotFoundError:
        return None
    except StoreError:
        # Damaged: `qpipe verify` is for that; gc only weighs it.
        damaged = Candidate(key, "(damaged)", 0, used, 0.0)
        return _Weighed(damaged, inodes) if os.path.lexists(folder) else None
    return _Weighed(Candidate(key, manifest.name, 0, used, manifest.usage.seconds), inodes)


def _inodes(folder: Path) -> dict[tuple[int, int], tuple[int, int]]:
    if folder.is_symlink():
        return {}
    stats = [p.lstat() for p in folder.rglob("*") if p.is_file() and not p.is_symlink()]
    return {(s.st_dev, s.st_ino): (s.st_size, s.st_nlink) for s in stats}


class _Holders:
    """Counts of the artifacts that hold each file, so that a shared one counts once, and is freed
    when the last of them goes. A file that is also linked from outside the store frees nothing."""

    def __init__(self, weighed: Iterable[_Weighed]) -> None:
        self.sizes: dict[tuple[int, int], int] = {}
        self.held: Counter[tuple[int, int]] = Counter()
        links: dict[tuple[int, int], int] = {}
        for one in weighed:
            for inode, (size, count) in one.inodes.items():
                self.held[inode] += 1
                self.sizes[inode], links[inode] = size, count
        for inode, count in links.items():
            if count > self.held[inode]:
                self.sizes[inode] = 0

    def total(self) -> int:
        """Bytes that removing every artifact would free."""
        return sum(self.sizes.values())

    def release(self, one: _Weighed) -> int:
        """Take an artifact away; the bytes that this frees."""
        freed = 0
        for inode in one.inodes:
            self.held[inode] -= 1
            freed += 0 if self.held[inode] else self.sizes[inode]
        return freed

    def share(self, one: _Weighed) -> int:
        """An artifact's bytes, a shared file divided among its holders."""
        return sum(self.sizes[inode] // self.held[inode] for inode in one.inodes)


def _choose(
    weighed: Sequence[_Weighed],
    spared: Mapping[str, str],
    *,
    max_size: int | None,
    max_age: float | None,
) -> Collection:
    holders = _Holders(weighed)
    total = holders.total()
    oldest = time.time() - max_age if max_age is not None else None
    removed: list[Candidate] = []
    candidates: list[_Weighed] = []
    for one in sorted(weighed, key=lambda w: (w.candidate.last_used, w.candidate.key)):
        candidate = one.candidate
        too_old = oldest is not None and candidate.last_used < oldest
        too_much = max_size is not None and total > max_size
        if candidate.key not in spared and (too_old or too_much):
            freed = holders.release(one)
            removed.append(replace(candidate, size=freed))
            total -= freed
        else:
            candidates.append(one)
    remaining = [
        replace(w.candidate, size=holders.share(w), spared=spared.get(w.candidate.key))
        for w in candidates
    ]
    return Collection(removed, remaining)


def _take_out(store: ArtifactStore, key: str) -> Path | None:
    target = store.paths.aside / f"{key}.gc-{file_lock.unique()}"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        move_out(store.paths.artifact(key), target)
    except FileNotFoundError:
        return None  # another gc, or quarantine, was quicker
    return target


def _clear(store: ArtifactStore, *, keep: float = 86400.0) -> None:
    """Remove folders aside whose maker is dead, and, once older than ``keep`` s, what unfinished
    attempts left and what is in quarantine."""
    for folder in _entries(store.paths.aside):
        _remove_unmade(store, folder)
    for folder in _entries(store.paths.partials):
        if _changed(folder, *folder.rglob("*")) < time.time() - keep:
            _remove_unmade(store, folder)
    for note in _files(store.paths.hashes):
        if _changed(note) < time.time() - _NOTES_KEPT:
            note.unlink(missing_ok=True)
    for folder in _entries(store.paths.quarantine):
        if _changed(folder) < time.time() - keep:
            remove_tree(folder)


def _remove_unmade(store: ArtifactStore, folder: Path) -> None:
    """Remove a folder of an artifact that nobody is making."""
    fd = file_lock.acquire(store.paths.lock(folder.name.split(".")[0]), wait=False)
    if fd is not None:
        try:
            remove_tree(folder)
        finally:
            os.close(fd)


def _changed(*paths: Path) -> float:
    """When the last of these was changed; never, if another process is removing them."""
    try:
        return max(path.lstat().st_mtime for path in paths)
    except FileNotFoundError:
        return math.inf


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if is_folder(folder) else []


def _files(folder: Path) -> list[Path]:
    """The files of a folder; one whose name begins with a dot is half written."""
    return [p for p in _entries(folder) if p.is_file() and not p.name.startswith(".")]
