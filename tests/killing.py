"""Ending a run as a power failure would, once it has kept something: it and all of its workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar

from tests.cli import environment

Found = TypeVar("Found")


def killed_when(
    found: Callable[[], Found | None],
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 90,
) -> Found:
    """Start the command line, and kill it as soon as ``found`` tells something: what it told."""
    process = subprocess.Popen(
        [sys.executable, "-m", "qpipe", *arguments],
        cwd=cwd,
        env=environment(env),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + timeout
    try:
        while time.monotonic() < deadline:
            told = found()
            if told is not None:
                return told
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        raise AssertionError(f"nothing was kept within {timeout} s")
    finally:
        kill_with_workers(process)


def kill_with_workers(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a run and whatever it started; return when none of it lives."""
    workers = _below(process.pid)
    for pid in (process.pid, *workers):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()
    deadline = time.monotonic() + 30
    while any(map(_lives, workers)):
        assert time.monotonic() < deadline, "a worker survived SIGKILL"
        time.sleep(0.01)
    if sys.platform != "linux":
        time.sleep(2)  # no /proc: workers notice within a fifth of a second that they are orphans


def files_below(folder: Path, pattern: str) -> list[Path]:
    """Files of that name anywhere in a folder that others change meanwhile."""
    # Unlike glob, os.walk passes over what is gone when it comes to it.
    found = [Path(at, name) for at, _, names in os.walk(folder) for name in names]
    return sorted(path for path in found if fnmatch(path.name, pattern))


def _below(pid: int) -> list[int]:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        own = [int(child) for t in threads for child in (t / "children").read_text().split()]
    except OSError:
        return []
    return [*own, *(below for child in own for below in _below(child))]


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
