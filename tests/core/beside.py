"""Starting the actors."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable


def start(role: str, *arguments: object) -> subprocess.Popen[str]:
    """An actor, with its streams as pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.core.actors", role, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ready(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """Wait until an actor says that it is ready."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == "ready\n", line + process.communicate()[1]
    return process


def finish(process: subprocess.Popen[str], *, code: int = 0, timeout: float = 60) -> str:
    """Wait for an actor's end; what it printed since."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == code, f"{process.returncode}\n{out}\n{err}"
    return out


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL, and no pipes left open."""
    process.kill()
    process.communicate()


def until(condition: Callable[[], object], *, seconds: float = 20.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)
