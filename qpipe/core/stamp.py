"""A file's stamp: while it stays the same, so do the file's bytes, and none need be read.

The ctime is in it, which no program can set: an edit that puts the mtime back is still seen. It
also changes where no byte does (a new hard link, a chmod, a copy of the whole store), so another
stamp is a reason to read the file again, and no damage by itself.
"""

from __future__ import annotations

import os
from typing import TypeAlias

Stamp: TypeAlias = tuple[int, int, int, int]
"""Bytes, mtime and ctime in nanoseconds, inode."""


def stamp(stat: os.stat_result) -> Stamp:
    """The stamp of a file that was looked at."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino
