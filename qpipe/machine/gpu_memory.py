"""Memory of the NVIDIA GPUs of this machine, as the driver's nvidia-smi tells it."""

from __future__ import annotations

import subprocess
from functools import cache

PROGRAM = "nvidia-smi"
_QUERY = ("--query-gpu=memory.total", "--format=csv,noheader,nounits")
_MIB = 1 << 20
_SECONDS = 30.0


@cache
def totals(program: str = PROGRAM) -> tuple[int, ...]:
    """Bytes of memory of each GPU, by number; nothing where the program is not there or does not
    say it: instances of MIG are no GPUs to it."""
    try:
        done = subprocess.run(
            [program, *_QUERY],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    lines = done.stdout.split() if done.returncode == 0 else []
    return tuple(int(line) * _MIB for line in lines if line.isdecimal())


def most() -> int | None:
    """Bytes of memory of the largest GPU; None where nothing says it."""
    return max(totals(), default=None)
