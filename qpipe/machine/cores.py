"""CPU cores: those of the host, and those that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

from qpipe.machine import cgroups


def host() -> int:
    """The logical cores of the host, whoever may use them."""
    return os.cpu_count() or 1


def usable(root: Path = cgroups.ROOT) -> int:
    """The cores that this process may use, at least 1: by its affinity (taskset, a cpuset, a batch
    system) and by the CPU quota of its cgroups (``docker run --cpus``, a Kubernetes limit).

    A quota of 1.5 cores counts as 2, as the JVM and Go count it. ``root`` holds proc and sys.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else host()
    quota = cgroups.cpu_quota(root)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))
