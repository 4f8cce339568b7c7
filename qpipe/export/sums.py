"""SHA256SUMS: the digest of every other file of an export, as `sha256sum -c` reads it."""

from __future__ import annotations

import os
from pathlib import Path

from qpipe.core.digests import Digests

NAME = "SHA256SUMS"


def of(folder: Path, digests: Digests) -> dict[str, str]:
    """The SHA-256 (hex) of every file below ``folder`` but SHA256SUMS, by name, in order; none is
    read whose digest is known. Raises OSError."""
    files = [Path(root) / name for root, _, names in os.walk(folder) for name in names]
    named = {file.relative_to(folder).as_posix(): file for file in files}
    return {name: digests.of(named[name]) for name in sorted(named) if name != NAME}


def write(folder: Path, digests: Digests) -> dict[str, str]:
    """Write SHA256SUMS for what is in ``folder``; return it. Raises OSError."""
    sums = of(folder, digests)
    (folder / NAME).write_bytes(b"".join(os.fsencode(_line(*each)) for each in sums.items()))
    return sums


def _line(name: str, sha256: str) -> str:
    """A line of sha256sum, which marks names that it writes otherwise."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{sha256}  {escaped}\n"
