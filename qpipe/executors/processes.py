"""What the operating system knows of worker processes: groups, memory, the ends of their logs."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Protocol

# How much of a log's end is read, and shown.
_TAIL_BYTES = 1 << 16
_TAIL_LINES = 12

# How libraries in C say why they end the process (ggml's GGML_ASSERT and GGML_ABORT, glibc), and
# how many such lines are shown.
_LAST_WORDS = re.compile(r"GGML_ASSERT|[Ff]atal error|Assertion .* failed|terminate called")
_MOST_WORDS = 3


class WorkerProcess(Protocol):
    """A worker's process, however it was started; ``pid`` leads a process group, and is None as
    long as the process is not there."""

    @property
    def pid(self) -> int | None: ...  # noqa: D102
    @property
    def end(self) -> int | None:
        """A descriptor that is readable when the process ends, or something is heard of it; None
        where there is no such thing."""

    @property
    def returncode(self) -> int | None:
        """The exit code that was seen last."""

    def poll(self) -> int | None:
        """The exit code, None as long as it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended. Raises subprocess.TimeoutExpired."""

    def close(self) -> None:
        """Let go of all that is kept of it, once it has ended."""


class SpawnedProcess:
    """A process that was started by itself."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pid: int | None = popen.pid
        self.end = end_of(popen.pid)

    @property
    def returncode(self) -> int | None:
        """The exit code that was seen last."""
        return self._popen.returncode

    def poll(self) -> int | None:
        """The exit code, None as long as it runs."""
        return self._popen.poll()

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended. Raises subprocess.TimeoutExpired."""
        return self._popen.wait(timeout)

    def take_end(self) -> int | None:
        """The descriptor that is readable at its end, for others to close."""
        end, self.end = self.end, None
        return end

    def close(self) -> None:
        """Close what tells of its end."""
        if (end := self.take_end()) is not None:
            os.close(end)


def end_of(pid: int) -> int | None:
    """A file descriptor that is readable once the process has ended, under Linux."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # a kernel before 5.3, a sandbox, too many open files
        return None


def signal_group(leader: int, number: signal.Signals) -> None:
    """Send a signal to a process group; one that is gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def memory_in_use(pid: int) -> int:
    """Bytes that a process and its descendants hold and cannot give back, 0 once it is gone.

    Pages of mapped files do not count: the kernel drops them when it needs room. Linux only (proc
    file system, ``/proc/PID/status`` and ``/proc/PID/task/TID/children``); 0 elsewhere.
    """
    own = 0
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(("RssAnon:", "RssShmem:")):
                own += int(line.split()[1]) * 1024
    return own + sum(memory_in_use(child) for child in _children(pid))


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with contextlib.suppress(OSError):
        for task in list(Path(f"/proc/{pid}/task").iterdir()):
            with contextlib.suppress(OSError):
                children += map(int, (task / "children").read_text().split())
    return children


def log_end(log: Path) -> str:
    """The last lines of a log, indented, with its path, as the end of a sentence.

    What a library said when it gave up comes first where a backtrace has pushed it out of them.
    """
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        text = file.read().decode(errors="replace")
    everything = text.rstrip().splitlines()
    lines = everything[-_TAIL_LINES:]
    if words := [line for line in everything[:-_TAIL_LINES] if _LAST_WORDS.search(line)]:
        lines = [*words[-_MOST_WORDS:], "…", *lines]
    if not lines:
        return f" (its log {log} is empty)"
    return f"; the end of its log {log}:\n" + "\n".join(f"    {line}" for line in lines)
