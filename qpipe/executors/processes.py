"""What the operating system knows of worker processes: groups, memory, the ends of their logs."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

# How much of a log's end is read, and shown.
_TAIL_BYTES = 1 << 16
_TAIL_LINES = 12

# How libraries in C say why they end the process (ggml's GGML_ASSERT and GGML_ABORT, glibc), and
# how many such lines are shown.
_LAST_WORDS = re.compile(r"GGML_ASSERT|[Ff]atal error|Assertion .* failed|terminate called")
_MOST_WORDS = 3


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
