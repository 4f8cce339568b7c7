"""SHA-256 of files, remembered by their stamps, so that bytes are read again only when in doubt.

A note lies under the file's inode and size, so that files which share their bytes (a user's
checkpoint and its hard links in the store) share what is known of them, and files of two disks do
not get in each other's way. Deleting notes is always safe, and a store that was copied has none
that fits.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from qpipe.core.key import file_sha256
from qpipe.core.stamp import Stamp, stamp

# Seconds within which a file system may give two writes the same times.
TICK = 0.05


class Digests:
    """The notes in ``folder``, which is made when the first is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Path, tuple[Stamp, str]] = {}

    def known(self, found: Stamp) -> str | None:
        """The SHA-256 (hex) of a file with this stamp, if it was read."""
        path = self._path(found)
        noted = self._known.get(path)
        if noted is None or noted[0] != found:
            noted = _noted(path)
        return noted[1] if noted is not None and noted[0] == found else None

    def of(self, path: Path) -> str:
        """The SHA-256 of a file, read only if its stamp is not known. Raises OSError."""
        return self.known(stamp(path.stat())) or self.read(path)

    def read(self, path: Path) -> str:
        """The SHA-256 of a file's bytes as they are now, noted if they stand still."""
        before = path.stat()
        # A write within the clock's tick would leave the times as they are.
        time.sleep(max(0.0, min(TICK, before.st_ctime + TICK - time.time())))
        sha256 = file_sha256(path)
        if stamp(path.stat()) == stamp(before):
            self.note(stamp(before), sha256)
        return sha256

    def note(self, found: Stamp, sha256: str) -> None:
        """Remember a digest; a disk that cannot be written costs the next process a reading."""
        path = self._path(found)
        self._known[path] = found, sha256
        text = " ".join([sha256, *map(str, found)]) + "\n"
        with contextlib.suppress(OSError):
            try:
                path.write_text(text)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)

    def _path(self, found: Stamp) -> Path:
        size, *_, inode = found
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
