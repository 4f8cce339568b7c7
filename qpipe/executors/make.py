"""An executor from a recipe's executor block."""

from __future__ import annotations

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

    ``cpus`` cores and ``memory`` bytes may be booked (None: all that this process may
    use of the machine).
    """
    if name == "inline":
        from qpipe.executors.inline import InlineExecutor

        return InlineExecutor()
    if name == "local":
        from qpipe.executors.local import Capacity, LocalExecutor
        from qpipe.machine import cores, gpus
        from qpipe.machine import memory as usable_memory

        capacity = Capacity(
            cpus=cpus or cores.usable(),
            memory=memory or usable_memory.usable(),
            gpus=tuple(gpus.visible()),
        )
        return LocalExecutor(paths, capacity, enforce_memory=enforce_memory)
    raise RecipeError(f"executor.name: there is no executor {name!r}; {nearest(name, NAMES)}")
