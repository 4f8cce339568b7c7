"""The artifact store: lookup, claim, commit, verify.

Invariants:

- A folder under ``artifacts/`` is whole: it is filled aside, synced, its manifest written last,
  and then renamed in, at once. A process that dies at any instant leaves nothing there.
- The right to make an artifact is the file lock on its path in ``locks/``, which worker
  processes inherit: while any of them lives, nobody else makes it.
- Damage is moved to ``quarantine/``, never used and never deleted at once. Only who could make
  the artifact moves it, and only the very folder that was seen to be damaged: a good one that
  another process has put there meanwhile stays.
- What is looked up for use has the bytes of its manifest: a file whose stamp (`core/digests.py`) is
  not that with which it was read last is read again.
- Whoever looks up or commits does so under a shared ``gc.lock``, having noted the key in its own
  ``active/`` file first; gc takes the lock exclusively and spares every noted key.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from qpipe.core import file_lock, integrity
from qpipe.core.active_keys import Use
from qpipe.core.claim import Claim, renew
from qpipe.core.digests import Digests
from qpipe.core.layout import MANIFEST, StorePaths
from qpipe.core.manifest import DamagedError, Manifest, misfit, moved_on
from qpipe.core.store_errors import explain
from qpipe.errors import OutOfSpaceError, QpipeError, StoreError
from qpipe.machine.filesystem import listed, move_out, remove_tree, sync_all
from qpipe.support.files import is_folder

_T = TypeVar("_T")

_KEY = re.compile("[0-9a-f]{64}")

# Seconds between syncs of the folders that finished artifacts were renamed into.
_SYNC_EVERY = 1.0


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: its folder and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def key(self) -> str:
        """The key under which the store holds it."""
        return self.manifest.key


@dataclass(frozen=True)
class Damage:
    """An artifact that is not what its manifest says, and where it was moved.

    ``since``: its bytes are so since then at the latest (seconds since the epoch); None: not known.
    """

    key: str
    problem: str
    moved_to: Path | None
    since: float | None = None


class ArtifactStore:
    """A folder of artifacts that any number of processes share."""

    def __init__(self, root: Path) -> None:
        """Nothing is created before something is written."""
        self.paths = StorePaths(root)
        self.digests = Digests(self.paths.hashes)
        self._use = Use(self.paths)
        self._unsynced: set[Path] = set()
        self._synced = 0.0

    @property
    def note(self) -> Path | None:
        """The file in which this process says what it uses, once there is one."""
        return self._use.note

    # -- asking ---------------------------------------------------------------------------------

    def peek(self, key: str) -> Artifact | None:
        """The artifact if it is there and looks whole, without taking note of the use; none of its
        files is read.

        Raises DamagedError (a StoreError) if it is there and damaged, StoreError if it cannot be
        read.
        """
        folder = self.paths.artifact(key)
        try:
            manifest = Manifest.load(folder)
        except DamagedError:
            if not os.path.lexists(folder):
                return None
            raise
        except OSError as error:
            raise StoreError(
                f"{folder / MANIFEST}: the manifest cannot be read ({error.strerror})"
            ) from error
        if manifest.key != key:
            raise DamagedError(f"{folder / MANIFEST}: the manifest is that of {manifest.key[:12]}")
        for entry in manifest.files:
            if problem := misfit(folder, entry):
                raise DamagedError(f"{folder}: the artifact is damaged: {problem}")
        return Artifact(folder, manifest)

    def lookup(
        self, key: str, tell: integrity.Tell | None = None
    ) -> tuple[Artifact | None, Damage | None]:
        """The artifact for use by this process: gc spares it from now on.

        A damaged one is moved to quarantine and reported, as if it were not there. Files that were
        touched since they were read last are read again; ``tell`` is told where that takes long.
        """
        with self._use.noting(key):
            folder_id = self._identity(key)
            try:
                artifact = self.peek(key)
            except DamagedError as error:
                return None, self._set_aside(key, str(error), folder_id)
        if artifact is None:
            return None, None
        try:
            problem, since = integrity.changed(artifact.path, artifact.manifest, self.digests, tell)
        except OSError as error:
            raise StoreError(f"{artifact.path} cannot be read: {error}") from error
        if problem is not None:
            return None, self._set_aside(key, problem, folder_id, since)
        # The folder's mtime is the last use, for gc. A store of somebody else's is only read.
        with contextlib.suppress(OSError):
            os.utime(artifact.path)
        return artifact, None

    def changed(self, artifact: Artifact) -> str | None:
        """The fault in the bytes of an artifact, or None, as far as its files were touched since
        they were read last. Raises OSError."""
        return integrity.changed(artifact.path, artifact.manifest, self.digests)[0]

    def _identity(self, key: str) -> int | None:
        """The inode of an artifact's folder, which tells it from another one put in its place."""
        try:
            return os.lstat(self.paths.artifact(key)).st_ino
        except OSError:
            return None

    def key_of(self, node_id: str) -> str | None:
        """The key that a node id led to last, if it is known."""
        try:
            key = self.paths.node(node_id).read_text(errors="replace")
        except OSError:
            return None
        return key if _KEY.fullmatch(key) else None

    def all_keys(self) -> Iterator[str]:
        """The keys of all artifacts, in order."""
        if not is_folder(self.paths.artifacts):
            return
        try:
            for shard in sorted(filter(is_folder, self.paths.artifacts.iterdir())):
                yield from sorted(e.name for e in shard.iterdir() if _KEY.fullmatch(e.name))
        except OSError as error:
            raise StoreError(f"{error.filename}: cannot be read ({error.strerror})") from error

    # -- making ---------------------------------------------------------------------------------

    def claim(self, key: str) -> Claim | None:
        """The right to make ``key``, or None while another process has it.

        Half-written folders of dead processes for this key are removed. Raises StoreError if the
        store cannot be written.
        """
        with self._writing():
            fd = file_lock.acquire(self.paths.lock(key), wait=False)
            if fd is None:
                return None
            try:
                aside = self.paths.aside
                for name in listed(aside):
                    if name.startswith(f"{key}."):
                        remove_tree(aside / name)
                folder = aside / f"{key}.{file_lock.unique()}"
                folder.mkdir(parents=True)
            except BaseException:
                os.close(fd)
                raise
        return Claim(key, folder, self.paths.partial(key), fd, self.paths.hashes)

    def commit(self, claim: Claim, manifest: Manifest) -> Artifact:
        """Make the filled folder of ``claim`` the artifact, and release the claim.

        Raises StoreError if the folder does not hold the files that the manifest lists, and
        OutOfSpaceError if the disk is full; either way nothing is left behind.
        """
        (result,) = self.commit_all([(claim, manifest)])
        if isinstance(result, QpipeError):
            raise result
        return result

    def commit_all(self, finished: Sequence[tuple[Claim, Manifest]]) -> list[Artifact | QpipeError]:
        """`commit` of several at a time, which then wait for the disk together."""
        try:
            sealed = [self._attempt(self._seal, *work) for work in finished]
            paths = [path for seal in sealed if not isinstance(seal, QpipeError) for path in seal]
            failed = sync_all(paths)
            results: list[Artifact | QpipeError] = []
            for (claim, manifest), seal in zip(finished, sealed, strict=True):
                if isinstance(seal, QpipeError):
                    results.append(seal)
                elif errors := [failed[path] for path in seal if path in failed]:
                    results.append(self.explain(errors[0]))
                else:
                    results.append(self._attempt(self._put, claim, manifest))
        finally:
            for claim, _ in finished:
                claim.release()
        self.sync(every=_SYNC_EVERY)
        return results

    def _attempt(
        self, step: Callable[[Claim, Manifest], _T], claim: Claim, manifest: Manifest
    ) -> _T | QpipeError:
        try:
            with self._writing():
                return step(claim, manifest)
        except QpipeError as error:
            return error

    def _put(self, claim: Claim, manifest: Manifest) -> Artifact:
        final = self.paths.artifact(claim.key)
        with self._use.noting(claim.key):
            if claim.replacing and (entries := renew(self.paths, claim, manifest)) is not None:
                return self._settled(claim, replace(manifest, files=entries))
            try:
                claim.folder.rename(final)
            except FileNotFoundError:
                final.parent.mkdir(parents=True, exist_ok=True)
                claim.folder.rename(final)
        with contextlib.suppress(OSError):  # it is there, and whole: what follows is a courtesy
            final.chmod(0o555)
        integrity.learn(final, manifest.files, self.digests)
        self._unsynced.add(final.parent)
        return self._settled(claim, manifest)

    def _settled(self, claim: Claim, manifest: Manifest) -> Artifact:
        """The artifact of a claim, which needs what it kept for a next attempt no longer."""
        with contextlib.suppress(OSError):  # gc takes it if it stays
            remove_tree(claim.partial)
        self._remember(manifest.id, claim.key)
        return Artifact(self.paths.artifact(claim.key), manifest)

    def sync(self, *, every: float = 0.0) -> None:
        """Make the renames of finished artifacts durable, at most each ``every`` seconds.

        A rename that a power failure takes back leaves no damage, only work to be done again.
        """
        if self._unsynced and time.monotonic() - self._synced >= every:
            sync_all(sorted(self._unsynced))
            self._unsynced.clear()
            self._synced = time.monotonic()

    def remember(self, node_id: str, key: str) -> None:
        """Note that a node id leads to ``key``; a store that cannot be written stays as it is."""
        if self.key_of(node_id) != key:
            self._remember(node_id, key)

    def _remember(self, node_id: str, key: str) -> None:
        path = self.paths.node(node_id)
        with contextlib.suppress(OSError):  # half of it is no key: see key_of
            try:
                path.write_text(key)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(key)

    def _seal(self, claim: Claim, manifest: Manifest) -> list[Path]:
        """Check the files, write the manifest, all read-only; what must be durable before use."""
        folder = claim.folder
        if manifest.key != claim.key:
            raise ValueError(f"a manifest of {manifest.key} for a claim on {claim.key}")
        durable = []
        for entry in manifest.files:
            if problem := moved_on(folder, entry):
                raise StoreError(
                    f"{manifest.name}: the stage's output changed under way: {problem}"
                )
            if entry.mtime_ns is None:  # a link's mode and bytes belong to somebody else
                path = folder / entry.path
                path.chmod(path.stat().st_mode & ~0o222)
                durable.append(path)
        # Nobody reads it before the folder is renamed: it need not appear at once.
        (folder / MANIFEST).write_bytes(manifest.dump())
        (folder / MANIFEST).chmod(0o444)
        durable.append(folder / MANIFEST)
        for parent, _, _ in os.walk(folder, topdown=False):
            durable.append(Path(parent))
            if Path(parent) != folder:  # renaming the top folder needs it writable
                Path(parent).chmod(0o555)
        return durable

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self.explain(error) from error

    def explain(self, error: OSError) -> OutOfSpaceError | StoreError:
        """An error of the file system below the store, in words that help."""
        return explain(self.paths.root, error)

    def close(self) -> None:
        """Make all durable, and stop keeping this process's artifacts from gc."""
        self.sync()
        self._use.close()

    # -- damage ---------------------------------------------------------------------------------

    def set_aside(self, key: str, problem: str) -> Damage:
        """Move an artifact to quarantine for a reason that it does not show itself.

        Raises StoreError if the store cannot be written.
        """
        return self._set_aside(key, problem, self._identity(key))

    def _set_aside(
        self, key: str, problem: str, folder_id: int | None, since: float | None = None
    ) -> Damage:
        """Move the damaged folder ``folder_id`` to quarantine, if it is still there."""
        target = self.paths.quarantine / f"{key}.{file_lock.unique()}"
        with self._writing():
            fd = file_lock.acquire(self.paths.lock(key), wait=False)
            if fd is None:
                return Damage(key, problem, None, since)  # another process is at it
            try:
                if folder_id is None or self._identity(key) != folder_id:
                    return Damage(key, problem, None, since)  # another process was quicker
                target.parent.mkdir(parents=True, exist_ok=True)
                move_out(self.paths.artifact(key), target)
                os.utime(target, follow_symlinks=False)
            finally:
                os.close(fd)
        return Damage(key, problem, target, since)

    def verify(self, key: str) -> Damage | None:
        """Read every byte of an artifact again; move it to quarantine if anything differs.

        Raises StoreError if it is not there, cannot be read, or cannot be moved away.
        """
        with self._use.noting(key):
            folder_id = self._identity(key)
        try:
            artifact = self.peek(key)
            if artifact is None:
                raise StoreError(f"there is no artifact {key} in {self.paths.root}")
            problem = integrity.reread(artifact.path, artifact.manifest, self.digests)
        except DamagedError as error:
            problem = str(error)
        except OSError as error:
            raise StoreError(f"{self.paths.artifact(key)} cannot be read: {error}") from error
        return self._set_aside(key, problem, folder_id) if problem else None

    def find(self, prefix: str) -> str:
        """The one key that starts with ``prefix``. Raises StoreError for none or several."""
        keys = [key for key in self.all_keys() if key.startswith(prefix)]
        if len(keys) == 1:
            return keys[0]
        if not keys:
            raise StoreError(
                f"no artifact in {self.paths.root} has a key that begins with {prefix!r}"
            )
        raise StoreError(
            f"{len(keys)} keys in {self.paths.root} begin with {prefix!r} "
            f"({', '.join(k[:16] for k in keys[:4])}, …); give more digits"
        )
