"""The folder of an export while it is filled: beside its place, and there at once when it is whole.

What a killed export left is removed by the next one to the same place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qpipe.core import file_lock
from qpipe.core.layout import StorePaths
from qpipe.errors import OutOfSpaceError, UsageError
from qpipe.export import provenance, sums
from qpipe.machine.filesystem import is_full, listed, remove_tree

_ASIDE = ".qpipe-export"
_LOCK = f"{_ASIDE}.lock"


def refuse(out: Path) -> None:
    """Raise UsageError for a place where something is: a file, or a folder that is not empty; and
    for one inside another export or a store, which hold nothing but their own."""
    for above in out.absolute().parents:
        if (above / provenance.NAME).is_file() and (above / sums.NAME).is_file():
            raise UsageError(f"--out {out}: {above} is an export already; name a place outside it")
        if StorePaths(above).artifacts.is_dir() and (above / "ids").is_dir():
            raise UsageError(f"--out {out}: {above} is a store; name a place outside it")
    try:
        if os.path.lexists(out) and not out.is_dir():
            raise UsageError(f"--out {out}: it is no folder; name one that is not there yet")
        if set(listed(out)) - {_ASIDE, _LOCK}:
            raise UsageError(f"--out {out}: it is not empty; name one that is not there yet")
    except OSError as error:
        raise explain(out, error) from error


@contextmanager
def filling(out: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place ``out`` once the block has succeeded, and goes
    otherwise.

    Raises UsageError where another export is on the way to the same place or it cannot be written,
    OutOfSpaceError for a full disk; the block's own OSErrors become these as well.
    """
    there = out.is_dir()
    # A folder that is there may be a disk of its own, or somebody's current one: it stays.
    parent, prefix = (out, "") if there else (out.absolute().parent, f".{out.absolute().name}")
    aside, lock = parent / f"{prefix}{_ASIDE}", parent / f"{prefix}{_LOCK}"
    try:
        held = file_lock.acquire(lock, wait=False)
    except OSError as error:
        raise explain(out, error) from error
    if held is None:
        raise UsageError(f"--out {out}: another export is on its way there; wait for it")
    try:
        remove_tree(aside)
        aside.mkdir()
        yield aside
        if there:
            for name in sorted(listed(aside)):
                (aside / name).rename(out / name)
        else:
            aside.rename(out)
    except OSError as error:
        raise explain(out, error) from error
    finally:
        remove_tree(aside)
        lock.unlink(missing_ok=True)
        os.close(held)


def explain(out: Path, error: OSError) -> OutOfSpaceError | UsageError:
    """An error of the file system below ``out``, in words that help."""
    where = error.filename or out
    if is_full(error):
        return OutOfSpaceError(
            f"--out {out}: its disk is full; free some space there, or name a folder on another "
            "disk; nothing is left behind"
        )
    return UsageError(f"--out {out}: cannot be written ({where}: {error.strerror})")
