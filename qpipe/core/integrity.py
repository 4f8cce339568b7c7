"""Whether an artifact's files are those of its manifest: by their stamps, or by every byte."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from qpipe.core.digests import Digests, stamp
from qpipe.core.layout import MANIFEST
from qpipe.core.manifest import FileEntry, Manifest, misfit, moved_on

Tell: TypeAlias = Callable[[str], None]
"""Called with a sentence for the user."""

# Bytes of a file from which on it is said that it is read.
_LARGE = 1 << 30


def changed(
    folder: Path, manifest: Manifest, digests: Digests, tell: Tell | None = None
) -> tuple[str | None, float | None]:
    """The fault in an artifact's bytes (None: no fault), and since when at the latest.

    Only files that were touched since they were read last are read; ``tell`` is told of a large
    one. Raises OSError.
    """
    for entry in manifest.files:
        path = folder / entry.path
        if problem := misfit(folder, entry):
            return problem, None
        if tell is not None and entry.size >= _LARGE and digests.lookup(stamp(path.stat())) is None:
            tell(f"{path} is read again ({entry.size >> 30} GiB): it was touched or copied")
        sha256 = digests.of(path)
        if sha256 != entry.sha256:
            return _differs(entry, sha256), path.stat().st_ctime
    return None, None


def learn(folder: Path, files: Sequence[FileEntry], digests: Digests) -> None:
    """Take the digests of files that were hashed a moment ago for known."""
    for entry in files:
        with contextlib.suppress(OSError):
            if moved_on(folder, entry) is None:
                digests.note(stamp((folder / entry.path).stat()), entry.sha256)


def reread(folder: Path, manifest: Manifest, digests: Digests) -> str | None:
    """The fault that reading every byte of an artifact shows, or None. Raises OSError."""
    listed = {entry.path for entry in manifest.files}
    for entry in manifest.files:
        sha256 = digests.read(folder / entry.path)
        if sha256 != entry.sha256:
            return _differs(entry, sha256)
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        inner = path.is_dir() and not path.is_symlink()
        if not inner and name != MANIFEST and name not in listed:
            return f"{name} is in the artifact but not in its manifest"
    return None


def _differs(entry: FileEntry, sha256: str) -> str:
    return f"{entry.path} has SHA-256 {sha256[:12]}…, not {entry.sha256[:12]}…"
