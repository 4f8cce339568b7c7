"""Making files and folders durable (fsync), many at a time.

One fsync waits for the disk, 2 to 4 ms even on a fast one; several at once share that wait.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_AT_ONCE = 8

# Seconds of one fsync from which threads are worth their while: never so in memory (tmpfs).
_SLOW = 0.0005


def sync_all(paths: Sequence[Path]) -> Mapping[Path, OSError]:
    """Make the bytes of files and the entries of folders durable; what went wrong, by path."""
    failed: dict[Path, OSError] = {}
    for index, path in enumerate(paths):
        begun = time.monotonic()
        _sync_each([path], failed)
        if time.monotonic() - begun > _SLOW:
            _sync_beside(paths[index + 1 :], failed)
            break
    return failed


def _sync_beside(paths: Sequence[Path], failed: dict[Path, OSError]) -> None:
    lanes = [paths[start::_AT_ONCE] for start in range(min(len(paths), _AT_ONCE))]
    threads = [threading.Thread(target=_sync_each, args=(lane, failed)) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _sync_each(paths: Sequence[Path], failed: dict[Path, OSError]) -> None:
    for path in paths:
        try:
            _sync(path)
        except OSError as error:
            error.filename = error.filename or str(path)
            failed[path] = error


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network file systems cannot sync a folder; their renames are durable on their own.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)
