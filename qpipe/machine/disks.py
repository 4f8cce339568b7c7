"""Disks: the space that is free, and the errors of a full one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers of a full disk and of a quota that is used up."""

FULL_IN_WORDS = os.strerror(errno.ENOSPC)
"""The message of a full disk, as programs of the C library print it."""


def is_full(error: OSError) -> bool:
    """Tell whether an error is that of a full disk or of a quota that is used up."""
    return error.errno in FULL


def existing(path: Path) -> Path:
    """The folder at ``path``, or the nearest one above it that is there."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def free(path: Path) -> int:
    """Bytes that a user may still write where ``path`` is or would be made."""
    system = os.statvfs(existing(path))
    return system.f_bavail * system.f_frsize
