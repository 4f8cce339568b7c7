"""Listing, moving and removing folders."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


def listed(folder: Path) -> list[str]:
    """Return the names in a folder, none if it is not there."""
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
