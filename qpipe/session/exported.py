"""Check a folder that was exported, here or elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

from qpipe.core.layout import MANIFEST
from qpipe.export import provenance, verifying
from qpipe.export.verifying import Verification
from qpipe.machine import capacity
from qpipe.support.files import exists, is_folder

__all__ = ["CANNOT", "Verification", "is_export", "verify"]

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


def verify(folder: str) -> Verification:
    """Read every byte of an exported folder, and compare it with what its provenance says."""
    return verifying.verify(Path(folder), threads=capacity.usable_cores())
