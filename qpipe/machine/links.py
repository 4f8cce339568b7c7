"""Bringing a file into an artifact without copying its bytes."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from pathlib import Path

# ioctl FICLONE of linux/fs.h: share all blocks of another file, copy on write.
_FICLONE = 0x40049409
_CANNOT = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.EROFS}


def link(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source``: a reflink where the file system has them,
    else a hard link, else (another file system) a symbolic link.

    Hard and symbolic links share the source's bytes: the manifest records its mtime, so that a
    later write is noticed. A reflink is a file of its own.
    """
    source = source.resolve(strict=True)
    if _reflink(source, target):
        return
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        target.symlink_to(source)


def _reflink(source: Path, target: Path) -> bool:
    if sys.platform != "linux":
        return False
    with source.open("rb") as old, target.open("xb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            target.unlink()
            return False
    return True
