"""How the operating system ends processes: signals, and the kernel's out-of-memory killer."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path


def signal_name(number: int) -> str:
    """``SIGSEGV`` for 11; real-time signals have only numbers."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def oom_kills() -> int:
    """The number of processes that the kernel has killed for memory since boot (Linux; else 0)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
