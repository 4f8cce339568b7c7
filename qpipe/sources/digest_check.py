"""Whether a file from the hub is the one that the hub names: huggingface_hub checks its size alone
(1.33.0; its issue 3643 tells of wrong bytes of the right size).

The hub names a file in its ETag: of one in LFS or Xet the SHA-256, of any other the SHA-1 that git
gives it. In the cache that name is the blob's, to which the snapshot's file is a link.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from qpipe.support import hashing

_NAMES = {40: "SHA-1 (of git)", 64: "SHA-256"}


def is_digest(name: str) -> bool:
    """True if a name is a digest by which the hub calls a file."""
    return len(name) in _NAMES and re.fullmatch("[0-9a-f]+", name) is not None


def named(file: Path) -> str | None:
    """The digest (hex) that the hub named for a file of a snapshot in its cache; None where the
    cache does not keep it (no symbolic links here), or the hub's name is none."""
    if not file.is_symlink():
        return None
    name = os.path.basename(os.readlink(file))  # noqa: PTH115, PTH119  the blob may be a link too
    return name if is_digest(name) else None


def digests(file: Path, name: str | None, known: str | None = None) -> tuple[str, str | None]:
    """The SHA-256 of a file, and what is wrong with it where the hub named ``name``, or None.

    The file is read once, unless its SHA-256 is ``known`` and all that is asked for.
    """
    if name is None or len(name) == 64:
        sha256 = digest = known or hashing.of_file(file)
    else:
        git = begin_of_git(file.stat().st_size)
        sha256 = hashing.of_file(file, git)
        digest = git.hexdigest()
    return sha256, difference(digest, name)


def begin_of_git(size: int) -> hashing.Hash:
    """The SHA-1 of a blob of so many bytes as git stores it: a header in front of them."""
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def difference(digest: str, name: str | None) -> str | None:
    """Say what is wrong with a file of this digest (hex) that the hub calls ``name``, or None."""
    if name is None or digest == name:
        return None
    return f"its bytes have the {_NAMES[len(name)]} {digest}, and the hub names {name}"


def discard(file: Path) -> None:
    """Remove a file of a snapshot and the blob behind it, so that it is fetched anew."""
    behind = [file.parent / file.readlink(), file.resolve()] if file.is_symlink() else []
    for path in (file, *behind):
        path.unlink(missing_ok=True)
