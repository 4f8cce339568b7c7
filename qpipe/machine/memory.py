"""Memory: that of the host, and that which this process may use."""

from __future__ import annotations

import os
from pathlib import Path

from qpipe.machine import cgroups


def host() -> int:
    """Bytes of memory of the host."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def usable(root: Path = cgroups.ROOT) -> int:
    """Bytes of memory that this process and what it starts may use: the host's, or the limit of
    its cgroups (``docker run --memory``, a Kubernetes limit, a batch system).

    ``root`` holds proc and sys.
    """
    limit = cgroups.memory_limit(root)
    return host() if limit is None else min(host(), limit)
