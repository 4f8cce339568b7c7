"""Errors of the file system below a store, in words that help its user."""

from __future__ import annotations

import errno
from pathlib import Path

from qpipe.errors import OutOfSpaceError, StoreError
from qpipe.machine.filesystem import is_full

FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
"""Error numbers of what this user may not write."""


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
