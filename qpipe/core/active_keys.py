"""What this process uses of a store, told to gc.

Whoever looks up or commits notes the key in a file of its own, under a shared ``gc.lock``; gc
takes that lock exclusively and spares every key in the note of a living process (flock).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from qpipe.core import file_lock
from qpipe.core.layout import StorePaths
from qpipe.core.store_errors import FORBIDDEN, explain


class Use:
    """This process's note in ``active/``, made when it is first needed."""

    def __init__(self, paths: StorePaths) -> None:
        self._paths = paths
        self._fd: int | None = None
        self.note: Path | None = None
        """The file of this process, once there is one."""
        self._gc_lock = -1
        self._noted: set[str] = set()

    @contextlib.contextmanager
    def noting(self, key: str) -> Iterator[None]:
        """Note the use of ``key``, then hold off gc for a block.

        Raises OutOfSpaceError or StoreError if the note cannot be written.
        """
        if self._fd is None:
            self._fd = self._open()
        if self._fd < 0:
            yield
            return
        try:
            fcntl.flock(self._gc_lock, fcntl.LOCK_SH)
        except OSError as error:
            raise explain(self._paths.root, error) from error
        try:
            if key not in self._noted:
                self._note(self._fd, key)
                self._noted.add(key)
            yield
        finally:
            fcntl.flock(self._gc_lock, fcntl.LOCK_UN)

    def _note(self, fd: int, key: str) -> None:
        # The newline in front parts it from what a full disk left of an earlier attempt.
        line = b"\n" + key.encode() + b"\n"
        try:
            written = os.write(fd, line)
        except OSError as error:
            raise explain(self._paths.root, error) from error
        if written != len(line):
            raise explain(self._paths.root, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def _open(self) -> int:
        """The note's descriptor, locked; -1 if the store cannot be written."""
        try:
            self._gc_lock = file_lock.open_file(self._paths.gc_lock)
            self.note = self._paths.active / file_lock.unique()
            fd = file_lock.acquire(self.note)
        except OSError as error:
            self._close_gc_lock()
            if error.errno in FORBIDDEN:
                return -1  # nothing can be noted, and who can remove is not known: look only
            raise explain(self._paths.root, error) from error
        assert fd is not None
        return fd

    def close(self) -> None:
        """Let gc have this process's artifacts; the empty note goes with the next gc."""
        if self._fd is not None and self._fd >= 0:
            os.close(self._fd)
            self._close_gc_lock()
        self._fd = None
        self._noted.clear()

    def _close_gc_lock(self) -> None:
        if self._gc_lock >= 0:
            os.close(self._gc_lock)
        self._gc_lock = -1
