"""The folder in which qpipe keeps what belongs to no store: measured rates, headers of files."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path:
    """The folder ``qpipe`` in XDG_CACHE_HOME, by default ~/.cache; it need not be there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "qpipe"
