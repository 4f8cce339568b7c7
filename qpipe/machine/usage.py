"""CPU time and memory that processes have taken."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from pathlib import Path


def cpu_seconds() -> float:
    """CPU seconds of this process and of those that it has started and waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def peak_rss() -> int:
    """The most memory that this process, or one that it waited for, has had resident, in bytes."""
    return max(own_peak_rss(), _maxrss(resource.RUSAGE_CHILDREN))


def own_peak_rss() -> int:
    """The most memory that this process has had resident, in bytes."""
    # ru_maxrss would begin at the parent's size on Linux; VmHWM is this program's own.
    return peak_rss_of("self") or _maxrss(resource.RUSAGE_SELF)


def _maxrss(who: int) -> int:
    peak = resource.getrusage(who).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_rss_of(pid: int | str) -> int | None:
    """`own_peak_rss` of another process; None if it has ended, or on a system without /proc."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None
