"""An executor from a recipe's executor block."""

from __future__ import annotations

import os
from pathlib import Path

from qpipe.core.executor import Executor
from qpipe.core.layout import RunPaths
from qpipe.errors import RecipeError, nearest

NAMES = ("inline", "local")


def make(
    name: str,
    paths: RunPaths,
    *,
    cpus: int | None = None,
    memory: int | None = None,
    enforce_memory: bool = False,
) -> Executor:
    """The executor of that name, for the run at ``paths``. Raises RecipeError.

    ``cpus`` cores and ``memory`` bytes may be booked (None: all that this machine has).
    """
    if name == "inline":
        from qpipe.executors.inline import InlineExecutor

        return InlineExecutor()
    if name == "local":
        from qpipe.executors.local import Capacity, LocalExecutor

        capacity = Capacity(
            cpus=cpus or cores(),
            memory=memory or physical_memory(),
            gpus=len(list(Path("/dev").glob("nvidia[0-9]*"))),
        )
        return LocalExecutor(paths, capacity, enforce_memory=enforce_memory)
    raise RecipeError(f"executor.name: there is no executor {name!r}; {nearest(name, NAMES)}")


def cores() -> int:
    """The CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def physical_memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
