"""SHA-256 of files, remembered by their stamps, so that bytes are read again only when in doubt.

A note lies under the file's inode and size, so that files which share their bytes (a user's
checkpoint and its hard links in the store) share what is known of them, and files of two disks do
not get in each other's way. Deleting notes is always safe, and a store that was copied has none
that fits.

While a file's stamp stays the same, so do its bytes. The ctime is in it, which no program can set:
an edit that puts the mtime back is still seen. It also changes where no byte does (a new hard link,
a chmod, a copy of the whole store), so another stamp is a reason to read the file again, and no
damage by itself.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from qpipe.core.key import file_sha256
from qpipe.support import hashing

Stamp: TypeAlias = tuple[int, int, int, int]
"""Bytes, mtime and ctime in nanoseconds, inode."""


# Seconds within which a file system may give two writes the same times: Linux stamps files by a
# clock that ticks every 1 to 10 ms, others by coarser ones.
TICK = 0.05


class Linked(NamedTuple):
    """A file's second name: its stamp, and its SHA-256 (hex)."""

    stamp: Stamp
    sha256: str


def stamp(stat: os.stat_result) -> Stamp:
    """The stamp of a file that was looked at."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


class Digests:
    """The notes in ``folder``, which is made when the first is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._notes: dict[Path, tuple[Stamp, str]] = {}

    def lookup(self, file_stamp: Stamp) -> str | None:
        """The SHA-256 (hex) of a file with this stamp, if it was read."""
        path = self._path(file_stamp)
        note = self._notes.get(path)
        if note is None or note[0] != file_stamp:
            note = _noted(path)
        return note[1] if note is not None and note[0] == file_stamp else None

    def of(self, path: Path) -> str:
        """The SHA-256 of a file, read only if its stamp is not known. Raises OSError."""
        return self.lookup(stamp(path.stat())) or self.read(path)

    def of_each(self, paths: Sequence[Path], *, threads: int) -> list[str]:
        """The SHA-256 of each file; those whose stamps are not known are read side by side, on as
        many cores as ``threads``. Raises OSError."""
        known = {path: self.lookup(stamp(path.stat())) for path in paths}
        unknown = [path for path, sha256 in known.items() if sha256 is None]
        read = dict(
            zip(unknown, hashing.side_by_side(self.read, unknown, threads=threads), strict=True)
        )
        return [known[path] or read[path] for path in paths]

    def read(self, path: Path) -> str:
        """The SHA-256 of a file's bytes as they are now, noted if they stand still."""
        before = path.stat()
        # A write within the clock's tick would leave the times as they are.
        time.sleep(max(0.0, min(TICK, before.st_ctime + TICK - time.time())))
        sha256 = file_sha256(path)
        if stamp(path.stat()) == stamp(before):
            self.note(stamp(before), sha256)
        return sha256

    def link(
        self, path: Path, target: Path, how: Callable[[Path, Path], None] = os.link
    ) -> Linked | None:
        """Give a file a second name, by which its ctime changes; its digest stays known.

        ``how`` may as well make a symbolic link, or a clone that is a file of its own. Returns what
        is known of ``target``, None where nothing is. Raises OSError.
        """
        before = path.stat()
        sha256 = self.lookup(stamp(before))
        how(path, target)
        after = path.stat()
        if not self._keep(sha256, before, after) or sha256 is None:
            return None
        linked = target.stat()
        if linked.st_ino == after.st_ino and stamp(linked) != stamp(after):
            return None  # somebody has just written to it, or linked it too
        return Linked(stamp(linked), sha256)

    def unlink(self, path: Path) -> None:
        """Take one of a file's names away, by which its ctime changes; its digest stays known.

        Raises OSError.
        """
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            sha256 = self.lookup(stamp(before))
            path.unlink()
            self._keep(sha256, before, os.fstat(file.fileno()))

    def _keep(self, sha256: str | None, before: os.stat_result, after: os.stat_result) -> bool:
        """Note a digest by the new stamp of a file; False if somebody has written to it
        meanwhile."""
        same = (before.st_size, before.st_mtime_ns, before.st_ino)
        if same != (after.st_size, after.st_mtime_ns, after.st_ino):
            return False
        if sha256 is not None:
            self.note(stamp(after), sha256)
        return True

    def note(self, file_stamp: Stamp, sha256: str) -> None:
        """Remember a digest; a disk that cannot be written costs the next process a reading."""
        path = self._path(file_stamp)
        self._notes[path] = file_stamp, sha256
        text = " ".join([sha256, *map(str, file_stamp)]) + "\n"
        with contextlib.suppress(OSError):
            try:
                path.write_text(text)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)

    def _path(self, file_stamp: Stamp) -> Path:
        size, *_, inode = file_stamp
        return self._folder / f"{inode:x}-{size:x}"


def _noted(path: Path) -> tuple[Stamp, str] | None:
    """The stamp and SHA-256 in a note on the disk; None if it cannot be read or lacks its end."""
    try:
        text = path.read_text()
        sha256, *numbers = text.split()
        size, mtime, ctime, inode = map(int, numbers)
    except (OSError, ValueError):
        return None
    return ((size, mtime, ctime, inode), sha256) if text.endswith("\n") else None
