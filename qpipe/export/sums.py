"""SHA256SUMS: the digest of every other file of an export, as `sha256sum -c` reads it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from qpipe.core.digests import Digests
from qpipe.errors import StoreError
from qpipe.support.files import read_file

NAME = "SHA256SUMS"

_MOST = 100_000_000
_LINE = re.compile(r"(\\?)([0-9a-f]{64})  (.+)")
_MARKS = {"\\": "\\", "n": "\n", "r": "\r"}


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


def read(folder: Path) -> dict[str, str]:
    """The digests in SHA256SUMS, by name. Raises StoreError for a line that is none."""
    data = read_file(folder / NAME, StoreError, most=_MOST)
    stated: dict[str, str] = {}
    if not data:
        return stated
    for number, line in enumerate(os.fsdecode(data).removesuffix("\n").split("\n"), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise StoreError(f"{NAME}: line {number} is no digest with a name")
        name = match[3]
        if match[1]:
            name = re.sub(r"\\([\\nr])", lambda mark: _MARKS[mark[1]], name)
        stated[name] = match[2]
    return stated
