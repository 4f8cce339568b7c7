"""An executor from a recipe's executor block."""

from __future__ import annotations

import os
from pathlib import Path

from qpipe.core.executor import Executor
from qpipe.core.layout import RunPaths
from qpipe.errors import RecipeError, nearest
from qpipe.recipe.draft import ExecutorDraft

NAMES = ("inline", "local")


def make(draft: ExecutorDraft, paths: RunPaths) -> Executor:
    """The executor that the draft names, for the run at ``paths``. Raises RecipeError."""
    if draft["name"] == "inline":
        from qpipe.executors.inline import InlineExecutor

        return InlineExecutor()
    if draft["name"] == "local":
        from qpipe.executors.local import Capacity, LocalExecutor

        capacity = Capacity(
            cpus=draft["cpus"] or cores(),
            memory=draft["memory"] or physical_memory(),
            gpus=len(list(Path("/dev").glob("nvidia[0-9]*"))),
        )
        return LocalExecutor(paths, capacity, enforce_memory=draft["enforce_memory"])
    raise RecipeError(
        f"executor.name: there is no executor {draft['name']!r}; {nearest(draft['name'], NAMES)}"
    )


def cores() -> int:
    """The CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def physical_memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
