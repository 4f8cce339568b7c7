"""How busy a machine is while something is measured on it: load average, and others' CPU time."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from qpipe.machine.usage import cpu_seconds

# Columns of /proc/stat's first line that are work: user, nice, system, irq, softirq, steal
# (proc_pid_stat(5); guest time is part of user's).
_BUSY = (0, 1, 2, 5, 6, 7)


@dataclass(frozen=True)
class MachineLoad:
    """The 1-minute load average at the start and at the end, and the share of all cores that other
    processes took in between; None where the system does not tell."""

    start: float | None
    end: float | None
    others: float | None


class LoadMeter:
    """Measures from its creation on. Processes that this one starts count as its own, once they
    have been waited for."""

    def __init__(self) -> None:
        """Begin."""
        self._load = load_average()
        self._at, self._own, self._busy = time.monotonic(), cpu_seconds(), busy_seconds()

    def read(self) -> MachineLoad:
        """The load since the start."""
        return MachineLoad(self._load, load_average(), self._others())

    def _others(self) -> float | None:
        busy, cores = busy_seconds(), os.cpu_count()
        seconds = time.monotonic() - self._at
        if busy is None or self._busy is None or not cores or not seconds:
            return None
        # The kernel counts in steps of 10 ms: of nothing, a little less may come out.
        others = (busy - self._busy) - (cpu_seconds() - self._own)
        return min(1.0, max(0.0, others / (seconds * cores)))


def load_average() -> float | None:
    """The mean number of processes that ran or wanted to, over the last minute; None if unknown."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def busy_seconds() -> float | None:
    """The seconds in which cores have worked since the machine started, summed over them; None on a
    system without /proc/stat, or one that counts nothing there."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        head, *ticks = Path("/proc/stat").read_text().splitlines()[0].split()
        busy = sum(int(ticks[column]) for column in _BUSY)
        return busy / os.sysconf("SC_CLK_TCK") if head == "cpu" and busy else None
    return None
