"""Check what was exported, here or elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from qpipe.core.layout import MANIFEST
from qpipe.errors import UsageError, quoted
from qpipe.export import provenance, verifying
from qpipe.export.verifying import Verification
from qpipe.machine import capacity
from qpipe.support.file_kinds import REFERENCE_SUFFIX
from qpipe.support.files import exists, is_file, is_folder

__all__ = ["CANNOT", "Verification", "is_export", "is_reference_file", "key_of", "verify"]

CANNOT = verifying.CANNOT


def is_export(argument: str) -> bool:
    """True for a folder that is, or may have been, an export: any but an artifact of a store, and
    one that is called like the first digits of a key."""
    path = Path(argument)
    if not is_folder(path):
        return False
    if exists(path / provenance.NAME):
        return True
    return not (exists(path / MANIFEST) or re.fullmatch("[0-9a-f]{1,64}", argument))


def is_reference_file(argument: str) -> bool:
    """True for a file that is called as reference files are."""
    return argument.endswith(REFERENCE_SUFFIX) and is_file(Path(argument))


def key_of(argument: str | None) -> str | None:
    """The first digits of a key that were given, bare or as an artifact's folder; None for none.
    Raises UsageError for what is neither that nor a folder."""
    if argument is None:
        return None
    digits = Path(argument).name
    if re.fullmatch("[0-9a-f]{1,64}", digits):
        return digits
    raise UsageError(
        f"{quoted(argument)}: no folder, no FILE{REFERENCE_SUFFIX}, and no first digits of a key "
        "either; give an exported folder, a reference file, or digits that `qpipe ls` shows, or "
        "nothing for all artifacts"
    )


def verify(
    folder: str, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Verification:
    """Read every byte of an exported folder, and compare it with what its provenance says."""
    threads = capacity.usable_cores()
    return verifying.verify(Path(folder), threads=threads, progress=progress)
