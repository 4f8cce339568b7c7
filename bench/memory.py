"""The most memory that the processes of one call hold together, which rusage does not know."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

_SECONDS = 0.05
_PROC = Path("/proc")


class Held(NamedTuple):
    """Bytes of memory: ``own`` without pages of mapped files, which the system drops when it needs
    room, and ``mapped`` with them, those that several processes map in equal shares."""

    own: int = 0
    mapped: int = 0


def peak(work: Callable[[], object]) -> Held:
    """The most that processes which ``work`` starts hold at the same time, theirs included.

    It is sampled, so a shorter peak is missed; on systems without /proc it is 0.
    """
    peaks, ended = [Held()], threading.Event()

    def watch() -> None:
        while not ended.wait(_SECONDS):
            held = [Held(), *map(_held, _descendants(os.getpid()))]
            peaks.append(Held(*map(sum, zip(*held, strict=True))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        ended.set()
        watcher.join()
    return Held(*map(max, zip(*peaks, strict=True)))


def _descendants(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for task in (_PROC / str(pid) / "task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from _descendants(int(child))


def _held(pid: int) -> Held:
    """Proportional set sizes, proc_pid_smaps(5)."""
    with contextlib.suppress(OSError):
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
        return Held(sizes["Pss_Anon"], sizes["Pss"])
    return Held()
