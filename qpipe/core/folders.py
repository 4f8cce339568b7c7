"""Moving and removing the store's folders, and its file system's errors in words that help."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from qpipe.errors import OutOfSpaceError, StoreError
from qpipe.machine.disks import is_full

FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def explain(root: Path, error: OSError) -> OutOfSpaceError | StoreError:
    """An error of the file system below the store at ``root``, for its user."""
    if is_full(error):
        return OutOfSpaceError(
            f"the disk of the store {root} is full (writing {error.filename or 'an artifact'});"
            " free some space, or take old artifacts away with `qpipe gc --max-size SIZE`; "
            "finished work is kept, and the same command goes on from there"
        )
    if error.errno in FORBIDDEN:
        return StoreError(
            f"the store {root} cannot be written ({error.strerror}); "
            "name another with --store DIR or QPIPE_STORE, or make it writable"
        )
    if error.errno == errno.ENOLCK:
        return StoreError(
            f"the store {root} lies where files cannot be locked ({error.strerror}): a network "
            "file system without locks, or with none left; name a folder on a local disk with "
            "--store DIR or QPIPE_STORE"
        )
    return StoreError(f"the store {root} failed: {error}")


def listed(folder: Path) -> list[str]:
    """The names in a folder, none if it is not there."""
    try:
        return os.listdir(folder)  # noqa: PTH208  names are all that is asked for, and this is hot
    except FileNotFoundError:
        return []


def move_out(artifact: Path, target: Path) -> None:
    """Rename a finished artifact's folder; renaming a folder needs it writable."""
    if artifact.is_dir():
        artifact.chmod(0o755)
    artifact.rename(target)


def remove_tree(path: Path) -> None:
    """Remove a folder of ours, read-only parts included.

    One that is not there is fine, and so is another process that removes it beside us.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
            return
        path.chmod(0o755)
        for entry in list(path.iterdir()):
            remove_tree(entry)
        path.rmdir()
