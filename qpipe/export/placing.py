"""Files of the store under other names: no byte copied where a hard link serves."""

from __future__ import annotations

import shutil
from pathlib import Path

from qpipe.core.digests import Digests


def place(source: Path, target: Path, digests: Digests) -> None:
    """Link a file of an artifact as ``target``, or copy it where it cannot be linked: another file
    system, or a link itself. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    real = source.resolve()
    try:
        digests.link(real, target)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(real, target)
