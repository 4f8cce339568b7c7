"""The artifact store: lookup, claim, commit, verify.

Invariants:

- A folder under ``artifacts/`` is whole: it is filled aside, synced, its manifest written last,
  and then renamed in, at once. A process that dies at any instant leaves nothing there.
- The right to make an artifact is the flock on its lock file, which worker processes inherit:
  while any of them lives, nobody else makes it.
- Damage is moved to ``quarantine/``, never deleted and never used.
- Whoever looks up or commits does so under a shared ``gc.lock``, having noted the key in its own
  ``active/`` file first; gc takes the lock exclusively and spares every noted key.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qpipe.core import lock
from qpipe.core.key import file_sha256
from qpipe.core.layout import MANIFEST, StorePaths
from qpipe.core.manifest import Manifest, intact
from qpipe.errors import OutOfSpaceError, StoreError

_counter = itertools.count()


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: its folder and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def key(self) -> str:
        """The key under which the store holds it."""
        return self.manifest.key


@dataclass
class Claim:
    """The right to make one artifact, and the folder to fill. ``fd`` is the held lock."""

    key: str
    folder: Path
    fd: int

    def release(self) -> None:
        """Give the right back; what was not committed is removed."""
        remove_tree(self.folder)
        os.close(self.fd)


@dataclass(frozen=True)
class Damage:
    """An artifact that is not what its manifest says, and where it was moved."""

    key: str
    problem: str
    moved_to: Path | None


class Store:
    """A folder of artifacts that any number of processes share."""

    def __init__(self, root: Path) -> None:
        """Nothing is created before something is written."""
        self.paths = StorePaths(root)
        self._active: int | None = None
        self._noted: set[str] = set()

    # -- asking ---------------------------------------------------------------------------------

    def peek(self, key: str) -> Artifact | None:
        """The artifact if it is there and looks whole, without taking note of the use.

        Raises StoreError if it is there and damaged.
        """
        folder = self.paths.artifact(key)
        if not folder.is_dir():
            return None
        manifest = Manifest.load(folder)
        if manifest.key != key:
            raise StoreError(f"{folder / MANIFEST}: the manifest is that of {manifest.key[:12]}")
        for entry in manifest.files:
            if problem := intact(folder, entry):
                raise StoreError(f"{folder}: the artifact is damaged: {problem}")
        return Artifact(folder, manifest)

    def lookup(self, key: str) -> tuple[Artifact | None, Damage | None]:
        """The artifact for use by this process: gc spares it from now on.

        A damaged one is moved to quarantine and reported, as if it were not there.
        """
        with self._noting(key):
            try:
                artifact = self.peek(key)
            except StoreError as error:
                return None, self.set_aside(key, str(error))
        if artifact is not None:
            # The folder's mtime is the last use, for gc. A store of somebody else's is only read.
            with contextlib.suppress(PermissionError, OSError):
                os.utime(artifact.path)
        return artifact, None

    def key_of(self, node_id: str) -> str | None:
        """The key that a node id led to last, if it is known."""
        try:
            return self.paths.node(node_id).read_text() or None
        except OSError:
            return None

    def all_keys(self) -> Iterator[str]:
        """The keys of all artifacts, in order."""
        if not self.paths.artifacts.is_dir():
            return
        for shard in sorted(self.paths.artifacts.iterdir()):
            yield from sorted(entry.name for entry in shard.iterdir())

    # -- making ---------------------------------------------------------------------------------

    def claim(self, key: str) -> Claim | None:
        """The right to make ``key``, or None while another process has it.

        Half-written folders of dead processes for this key are removed. Raises StoreError if the
        store cannot be written.
        """
        with self._writing():
            fd = lock.acquire(self.paths.lock(key), wait=False)
            if fd is None:
                return None
            try:
                self.paths.aside.mkdir(parents=True, exist_ok=True)
                for stale in self.paths.aside.glob(f"{key}.*"):
                    remove_tree(stale)
                folder = self.paths.aside / f"{key}.{os.getpid()}-{next(_counter)}"
                folder.mkdir()
            except BaseException:
                os.close(fd)
                raise
        return Claim(key, folder, fd)

    def commit(self, claim: Claim, manifest: Manifest) -> Artifact:
        """Make the filled folder of ``claim`` the artifact, and release the claim.

        Raises StoreError if the folder does not hold the files that the manifest lists, and
        OutOfSpaceError if the disk is full; either way nothing is left behind.
        """
        if manifest.key != claim.key:
            raise ValueError(f"a manifest of {manifest.key} for a claim on {claim.key}")
        try:
            with self._writing():
                self._seal(claim.folder, manifest)
                with self._noting(claim.key):
                    final = self.paths.artifact(claim.key)
                    final.parent.mkdir(parents=True, exist_ok=True)
                    claim.folder.rename(final)
                    final.chmod(0o555)
                    lock.sync_folder(final.parent)
                    lock.write_atomic(self.paths.node(manifest.id), claim.key.encode(), sync=False)
        finally:
            claim.release()
        return Artifact(final, manifest)

    def remember(self, node_id: str, key: str) -> None:
        """Note that a node id leads to ``key``; a store that cannot be written stays as it is."""
        if self.key_of(node_id) != key:
            with contextlib.suppress(OSError):
                lock.write_atomic(self.paths.node(node_id), key.encode(), sync=False)

    def _seal(self, folder: Path, manifest: Manifest) -> None:
        for entry in manifest.files:
            if problem := intact(folder, entry):
                raise StoreError(
                    f"{manifest.name}: the stage's output changed under way: {problem}"
                )
            path = folder / entry.path
            if entry.mtime_ns is None:
                _sync_file(path)
                path.chmod(path.stat().st_mode & ~0o222)
        lock.write_atomic(folder / MANIFEST, manifest.dump())
        (folder / MANIFEST).chmod(0o444)
        for parent, _, _ in os.walk(folder, topdown=False):
            lock.sync_folder(Path(parent))
            if Path(parent) != folder:  # renaming the top folder needs it writable
                Path(parent).chmod(0o555)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self.explain(error) from error

    def explain(self, error: OSError) -> OutOfSpaceError | StoreError:
        """An error of the file system below the store, in words that help."""
        root = self.paths.root
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return OutOfSpaceError(
                f"the disk of the store {root} is full (writing {error.filename or 'an artifact'});"
                " free some space, or take old artifacts away with `qpipe gc --max-size SIZE`; "
                "finished work is kept, and the same command goes on from there"
            )
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            return StoreError(
                f"the store {root} cannot be written ({error.strerror}); "
                "name another with --store DIR or QPIPE_STORE, or make it writable"
            )
        return StoreError(f"the store {root} failed: {error}")

    # -- living beside gc -----------------------------------------------------------------------

    @contextlib.contextmanager
    def _noting(self, key: str) -> Iterator[None]:
        """Note the use of ``key``, then hold off gc for a block."""
        if self._active is None:
            self._active = self._open_active()
        if self._active < 0:
            yield
            return
        with lock.held(self.paths.gc_lock, shared=True):
            if key not in self._noted:
                os.write(self._active, key.encode() + b"\n")
                self._noted.add(key)
            yield

    def _open_active(self) -> int:
        """This process's own note, locked while it lives; -1 if the store cannot be written."""
        path = self.paths.active / f"{os.getpid()}-{next(_counter)}"
        try:
            fd = lock.acquire(path)
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                return -1  # nobody can remove anything from here under our feet either
            raise self.explain(error) from error
        assert fd is not None
        return fd

    def close(self) -> None:
        """Stop keeping this process's artifacts from gc."""
        if self._active is not None and self._active >= 0:
            os.close(self._active)
        self._active = None
        self._noted.clear()

    # -- damage ---------------------------------------------------------------------------------

    def set_aside(self, key: str, problem: str) -> Damage:
        """Move a damaged artifact to quarantine."""
        target = self.paths.quarantine / f"{key}.{os.getpid()}-{next(_counter)}"
        with self._writing():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                move_out(self.paths.artifact(key), target)
                os.utime(target)
            except FileNotFoundError:
                return Damage(key, problem, None)  # another process was quicker
        return Damage(key, problem, target)

    def verify(self, key: str) -> Damage | None:
        """Read every byte of an artifact again; move it to quarantine if anything differs."""
        try:
            artifact = self.peek(key)
        except StoreError as error:
            return self.set_aside(key, str(error))
        if artifact is None:
            raise StoreError(f"there is no artifact {key} in {self.paths.root}")
        listed = {entry.path for entry in artifact.manifest.files}
        for entry in artifact.manifest.files:
            found = file_sha256(artifact.path / entry.path)
            if found != entry.sha256:
                return self.set_aside(
                    key, f"{entry.path} has SHA-256 {found[:12]}…, not {entry.sha256[:12]}…"
                )
        for path in artifact.path.rglob("*"):
            name = path.relative_to(artifact.path).as_posix()
            if path.is_file() and name != MANIFEST and name not in listed:
                return self.set_aside(key, f"{name} is in the artifact but not in its manifest")
        return None

    def find(self, prefix: str) -> str:
        """The one key that starts with ``prefix``. Raises StoreError for none or several."""
        found = [key for key in self.all_keys() if key.startswith(prefix)]
        if len(found) == 1:
            return found[0]
        if not found:
            raise StoreError(
                f"no artifact in {self.paths.root} has a key that begins with {prefix!r}"
            )
        raise StoreError(
            f"{len(found)} keys in {self.paths.root} begin with {prefix!r} "
            f"({', '.join(k[:16] for k in found[:4])}, …); give more digits"
        )


def move_out(artifact: Path, target: Path) -> None:
    """Rename a finished artifact's folder; renaming a folder needs it writable."""
    artifact.chmod(0o755)
    artifact.rename(target)


def remove_tree(folder: Path) -> None:
    """Remove a folder of ours, read-only parts included; one that is not there is fine."""
    for parent, _, _ in os.walk(folder):
        Path(parent).chmod(0o755)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
