"""Files of the store under other names: no byte copied where a hard link serves.

A hard link shares its bytes with the store, where nobody may write to them. What somebody may write
to, such as the user's own checkpoint that lies in the store as a link, is cloned or copied: an
export must not change with it.
"""

from __future__ import annotations

import stat
from pathlib import Path

from qpipe.core.digests import Digests, stamp
from qpipe.errors import StoreError
from qpipe.machine.filesystem import cannot_link, clone
from qpipe.support import hashing

_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_READ_ONLY = 0o444


def place(source: Path, target: Path, digests: Digests) -> None:
    """Make ``target`` a read-only file of the same bytes as ``source``, a file of an artifact: a
    hard link, else (another file system, or a file that may be written to) a clone, else a copy.

    What ``digests`` knows of the source, it knows of the target. Raises OSError, and StoreError for
    a file whose bytes are not those that are known.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    real = source.resolve(strict=True)
    if real.stat().st_mode & _WRITABLE or not _linked(real, target, digests):
        _duplicate(real, target, digests)


def _linked(real: Path, target: Path, digests: Digests) -> bool:
    try:
        digests.link(real, target)
    except OSError as error:
        if not cannot_link(error):
            raise
        return False
    return True


def _duplicate(real: Path, target: Path, digests: Digests) -> None:
    before = stamp(real.stat())
    known = digests.lookup(before)
    if clone(real, target):
        sha256 = known if stamp(real.stat()) == before else None
    else:
        sha256 = hashing.copy(real, target)
        if known not in (None, sha256):
            raise StoreError(
                f"{real}: it changed while it was copied, or was not read as it was written; run "
                "`qpipe verify`, then export again"
            )
    target.chmod(_READ_ONLY)
    if sha256 is not None:
        digests.note(stamp(target.stat()), sha256)
