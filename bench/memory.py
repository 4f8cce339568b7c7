"""The most memory that the processes of one call hold together, which rusage does not know."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

_SECONDS = 0.05
_PROC = Path("/proc")


def peak(work: Callable[[], object]) -> int:
    """Bytes that processes which ``work`` starts hold at most at the same time, theirs included.

    Pages of one file that several of them map count once. It is sampled, so a shorter peak is
    missed; on systems without /proc it is 0.
    """
    peaks, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(_SECONDS):
            peaks.append(sum(_held(pid) for pid in _descendants(os.getpid())))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        ended.set()
        watcher.join()
    return max(peaks)


def _descendants(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for task in (_PROC / str(pid) / "task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from _descendants(int(child))


def _held(pid: int) -> int:
    """Proportional set size, proc(5)."""
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
