"""Making files and folders durable (fsync), many at a time.

One fsync waits for the disk, 2 to 4 ms even on a fast one; several at once share that wait.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

_AT_ONCE = 16


def sync_all(paths: Sequence[Path]) -> Mapping[Path, OSError]:
    """Make the bytes of files and the entries of folders durable; what went wrong, by path."""
    if len(paths) < 2:
        results = [_sync(path) for path in paths]
    else:
        # Here, because `qpipe ls` needs no threads.
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(len(paths), _AT_ONCE)) as pool:
            results = list(pool.map(_sync, paths))
    return {path: error for path, error in zip(paths, results, strict=True) if error is not None}


def _sync(path: Path) -> OSError | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return error
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network file systems cannot sync a folder; their renames are durable on their own.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            error.filename = str(path)
            return error
    finally:
        os.close(fd)
    return None
