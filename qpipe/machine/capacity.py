"""Cores and memory: those of the host, and those that this process may use.

``root`` is always the folder that holds proc and sys.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from qpipe.machine import cgroups


def host_cores() -> int:
    """The logical cores of the host, whoever may use them."""
    return os.cpu_count() or 1


def usable_cores(root: Path = cgroups.ROOT) -> int:
    """The cores that this process may use, at least 1: by its affinity (taskset, a cpuset, a batch
    system) and by the CPU quota of its cgroups (``docker run --cpus``, a Kubernetes limit).

    A quota of 1.5 cores counts as 2, as the JVM and Go count it.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else host_cores()
    quota = cgroups.cpu_quota(root)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def host_memory() -> int:
    """Bytes of memory of the host."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def usable_memory(root: Path = cgroups.ROOT) -> int:
    """Bytes of memory that this process and what it starts may use: the host's, or the limit of
    its cgroups (``docker run --memory``, a Kubernetes limit, a batch system).
    """
    limit = cgroups.memory_limit(root)
    return host_memory() if limit is None else min(host_memory(), limit)
