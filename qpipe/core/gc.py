"""Taking artifacts away: by worth and age, never what a living or a pinned run uses."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Collection as Keys
from collections.abc import Iterable
from pathlib import Path

from qpipe.core import file_lock
from qpipe.core.claim import barred
from qpipe.core.manifest import Manifest
from qpipe.core.store import ArtifactStore
from qpipe.core.worth import Candidate, Collection, Limits, Weighed, choose
from qpipe.errors import StoreError
from qpipe.machine.filesystem import move_out, remove_tree
from qpipe.support.files import is_folder

# Seconds after which a digest that was noted is forgotten; the file is read once more then.
_NOTES_KEPT = 90 * 86400.0


def collect(
    store: ArtifactStore,
    *,
    max_size: int | None = None,
    max_age: float | None = None,
    last: Keys[str] = (),
    only: Keys[str] | None = None,
    dry_run: bool = False,
) -> Collection:
    """Remove artifacts unused for ``max_age`` seconds, then those that cost the fewest seconds per
    byte to make again until at most ``max_size`` bytes are left. Small ones of the stages ``last``
    go after all others. Limits hold for the artifacts of the keys ``only``, if they are given.

    Half-written folders of dead processes go too, and, when older than a day, what unfinished
    attempts left and quarantined artifacts. With ``dry_run`` nothing changes. Raises StoreError if
    the store cannot be written.
    """
    try:
        return _collect(store, Limits(max_size, max_age, last), only, dry_run)
    except OSError as error:
        raise store.explain(error) from error


def _collect(
    store: ArtifactStore, limits: Limits, only: Keys[str] | None, dry_run: bool
) -> Collection:
    if not is_folder(store.paths.root):
        return Collection([], [])
    # Weighing takes long, so runs need not wait for it; who uses what is asked under the lock.
    keys = [key for key in store.all_keys() if only is None or key in only]
    weighed = [w for key in keys if (w := _weigh(store, key)) is not None]
    foreign = _foreign(store, keys)
    if dry_run:
        return choose(weighed, foreign | spared(store), limits)
    with file_lock.held(store.paths.gc_lock):
        choice = choose(weighed, foreign | spared(store), limits)
        taken = {c.key: _take_out(store, c.key) for c in choice.removed}
        _forget_the_dead(store)
    for folder in taken.values():
        if folder is not None:
            remove_tree(folder, store.digests.unlink)
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


def spared(store: ArtifactStore, *, but_for: Path | None = None) -> dict[str, str]:
    """Why each protected key is protected; ``but_for`` is a note of a process that does not
    count."""
    reasons: dict[str, str] = {}
    for path in _files(store.paths.pins):
        reasons.update(
            dict.fromkeys(path.read_text(errors="replace").split(), f"pinned by run {path.name}")
        )
    for path in _files(store.paths.active):
        if path != but_for and file_lock.is_held(path):
            reason = f"in use by process {path.name.split('-')[0]}"
            reasons.update(dict.fromkeys(path.read_text(errors="replace").split(), reason))
    return reasons


def _foreign(store: ArtifactStore, keys: Iterable[str]) -> dict[str, str]:
    """Why each artifact of somebody else's stays: only its owner, and root, can move its folder."""
    foreign: dict[str, str] = {}
    for key in keys if os.geteuid() else ():
        with contextlib.suppress(FileNotFoundError):
            if reason := barred(store.paths.artifact(key)):
                foreign[key] = reason
    return foreign


def _forget_the_dead(store: ArtifactStore) -> None:
    """Remove the notes of runs that have ended."""
    for path in _files(store.paths.active):
        fd = file_lock.acquire(path, wait=False)
        if fd is not None:
            # Before the lock goes: whoever waits for it then sees that the file went.
            path.unlink()
            os.close(fd)


def _weigh(store: ArtifactStore, key: str) -> Weighed | None:
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
        return Weighed(damaged, inodes) if os.path.lexists(folder) else None
    candidate = Candidate(key, manifest.name, 0, used, manifest.usage.seconds, manifest.stage)
    return Weighed(candidate, inodes)


def _inodes(folder: Path) -> dict[tuple[int, int], tuple[int, int]]:
    if folder.is_symlink():
        return {}
    stats = [p.lstat() for p in folder.rglob("*") if p.is_file() and not p.is_symlink()]
    return {(s.st_dev, s.st_ino): (s.st_size, s.st_nlink) for s in stats}


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
    for shard in _entries(store.paths.dropped_manifests):
        for folder in _entries(shard):
            if _changed(folder) < time.time() - _NOTES_KEPT:
                remove_tree(folder)
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
