"""Names that came in a file or from a server, as places inside one folder and nowhere else.

An index, a listing of the hub, SHA256SUMS or a manifest name files. Whoever wrote them may name
``../x``, ``/etc/x`` or a link that leads there: each such name becomes a path here, or is refused
before anything is read or written.
"""

from __future__ import annotations

import os

from qpipe.errors import QpipeError, quoted

TYPE_CHECKING = False  # pathlib and typing would cost `qpipe ls` their import
if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 1024
"""Bytes of the longest name, of `MOST_PART` at most in each of its parts."""

MOST_PART = 255


def is_inner(name: object) -> bool:
    """True if ``name`` is a relative path with ``/`` that leads nowhere but below a folder, on any
    machine: no empty part, ``.`` or ``..``, no backslash, drive, null, line end or other character
    without a picture, and no longer than a file's name can be."""
    if not isinstance(name, str) or not name.isprintable() or "\\" in name:
        return False
    parts = name.split("/")
    return (
        not {"", ".", ".."} & {*parts}
        and not (len(parts[0]) >= 2 and parts[0][1] == ":" and parts[0][0].isalpha())
        and len(name.encode()) <= MOST_BYTES
        and all(len(part.encode()) <= MOST_PART for part in parts)
    )


def inside(
    folder: Path, name: object, error: type[QpipeError], *, by: str = "", links: bool = True
) -> Path:
    """The place ``name`` below ``folder``; it need not exist.

    ``by`` says in messages who names it. Raises ``error`` for a name that `is_inner` does not take;
    without ``links`` also for one that leads out of the folder by a symbolic link on its way.
    """
    if not is_inner(name):
        raise error(
            f"{by or folder}: names the file {quoted(name)}, which is no place inside a folder "
            "(absolute, `..`, a backslash, an empty part or a control character)"
        )
    path = folder / str(name)
    if not links and (target := _outside(folder, path)):
        raise error(
            f"{path}: leads by a link to {quoted(target)}, out of {folder}; put the file itself "
            "there"
        )
    return path


def _outside(folder: Path, path: Path) -> str | None:
    """The place outside of ``folder`` to which ``path`` leads, or None."""
    root, target = os.path.realpath(folder), os.path.realpath(path)
    return None if target.startswith(root.rstrip("/") + "/") else target
