"""Files, folders and disks: programs on PATH, space, links in place of copies, what is durable.

One fsync waits for the disk, 2 to 4 ms even on a fast one; several at once share that wait.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers of a full disk and of a quota that is used up."""

FULL_IN_WORDS = os.strerror(errno.ENOSPC)
"""The message of a full disk, as programs of the C library print it."""

# ioctl FICLONE of linux/fs.h: share all blocks of another file, copy on write.
_FICLONE = 0x40049409

_NO_HARD_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.EROFS}

# Calls of fsync at a time.
_AT_ONCE = 8

# Seconds of one fsync from which threads are worth their while: never so in memory (tmpfs).
_SLOW = 0.0005


def is_full(error: OSError) -> bool:
    """Tell whether an error is that of a full disk or of a quota that is used up."""
    return error.errno in FULL


def existing(path: Path) -> Path:
    """The folder at ``path``, or the nearest one above it that is there."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def executable(name: str) -> Path | None:
    """The first executable file of that name on PATH, as a shell finds it; None if there is none.

    `shutil.which` does the same, and imports all compression modules.
    """
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder or os.curdir, name)  # noqa: PTH118  asked in every cached run
        if os.path.isfile(path) and os.access(path, os.X_OK):  # noqa: PTH113
            return Path(path)
    return None


def free_bytes(path: Path) -> int:
    """Bytes that a user may still write where ``path`` is or would be made."""
    system = os.statvfs(existing(path))
    return system.f_bavail * system.f_frsize


def listed(folder: Path) -> list[str]:
    """Return the names in a folder, none if it is not there."""
    try:
        return os.listdir(folder)  # noqa: PTH208  names are all that is asked for, and this is hot
    except FileNotFoundError:
        return []


def move_out(artifact: Path, target: Path) -> None:
    """Rename a finished artifact's folder, which is made writable for it."""
    # Linux: a folder that gets another parent is itself changed (`..`), and has to be writable.
    if artifact.is_dir():
        artifact.chmod(0o755)
    artifact.rename(target)


def remove_tree(path: Path, unlink: Callable[[Path], None] = Path.unlink) -> None:
    """Remove a folder of ours, read-only parts included.

    ``unlink`` takes away files that have a name elsewhere too. One that is not there is fine, and
    so is another process that removes it beside us.
    """
    with contextlib.suppress(FileNotFoundError):
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            shared = stat.S_ISREG(status.st_mode) and status.st_nlink > 1
            (unlink if shared else Path.unlink)(path)
            return
        path.chmod(0o755)
        for entry in list(path.iterdir()):
            remove_tree(entry, unlink)
        path.rmdir()


def link(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source``: a reflink where the file system has them,
    else a hard link, else (another file system) a symbolic link.

    Hard and symbolic links share the source's bytes: the manifest records its mtime, so that a
    later write is noticed. A reflink is a file of its own.
    """
    source = source.resolve(strict=True)
    if clone(source, target):
        return
    try:
        os.link(source, target)
    except OSError as error:
        if not cannot_link(error):
            raise
        target.symlink_to(source)


def cannot_link(error: OSError) -> bool:
    """Tell whether an error of a hard link only says that there can be none here."""
    return error.errno in _NO_HARD_LINK


def clone(source: Path, target: Path) -> bool:
    """Make ``target``, which is not there, a file of its own that shares its bytes with ``source``
    until one is written to; False where the file system has no such thing. Raises OSError."""
    if sys.platform != "linux":
        return False
    with source.open("rb") as old, target.open("xb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            target.unlink()
            return False
    return True


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
        # Some network file systems (CIFS, FUSE) cannot sync a folder; their renames are durable on
        # their own.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)
