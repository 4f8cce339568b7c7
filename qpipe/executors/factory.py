"""An executor from a recipe's executor block, at once or when something is first asked of it.

A run whose nodes are all cached needs none, and asks this machine nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qpipe.core.executor import Executor, WorkEnd, WorkItem, WorkProgress
from qpipe.core.graph import Node, Resources
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
    share: bool = True,
    notify: Callable[[str], None] = lambda text: None,
) -> Executor:
    """The executor of that name, for the run at ``paths``. Raises RecipeError.

    ``cpus`` cores and ``memory`` bytes may be booked (None: all that this process may
    use of the machine). With ``share`` they are booked among all qpipe processes of this machine;
    ``notify`` is told where that cannot be.
    """
    if name == "inline":
        from qpipe.executors.inline import InlineExecutor

        return InlineExecutor()
    if name == "local":
        from qpipe.executors.local import Capacity, LocalExecutor
        from qpipe.machine import gpus
        from qpipe.machine.capacity import usable_cores, usable_memory

        capacity = Capacity(
            cpus=cpus or usable_cores(),
            memory=memory or usable_memory(),
            gpus=tuple(gpus.visible()),
        )
        return LocalExecutor(
            paths, capacity, enforce_memory=enforce_memory, share=share, notify=notify
        )
    raise RecipeError(f"executor.name: there is no executor {name!r}; {nearest(name, NAMES)}")


class DeferredExecutor:
    """The executor that ``make`` returns, which is called at the first question."""

    def __init__(self, make: Callable[[], Executor]) -> None:
        """Nothing is made yet."""
        self._make = make
        self._executor: Executor | None = None

    def foresee(self, nodes: Sequence[Node]) -> None:
        """Take note of nodes that may come."""
        self._started().foresee(nodes)

    def has_room(self, needs: Resources) -> bool:
        """Return whether a work item with these needs may start now."""
        return self._started().has_room(needs)

    def held_up(self) -> str:
        """Say what other processes hold, for want of which there was no room the last time."""
        return self._started().held_up()

    def fits(self, needs: Sequence[Resources]) -> bool:
        """Return whether work items with these needs could run at one time."""
        return self._started().fits(needs)

    def check(self, needs: Resources) -> str | None:
        """Return why these needs can never be met here, or None."""
        return self._started().check(needs)

    def submit(self, *items: WorkItem) -> Sequence[str | None]:
        """Start one worker, and return the path of the log of each item."""
        return self._started().submit(*items)

    def wait(self, timeout: float) -> Sequence[WorkEnd | WorkProgress]:
        """Return what has happened, waiting up to ``timeout`` seconds."""
        return self._started().wait(timeout)

    def rest(self) -> None:
        """Keep nothing ready, if anything may be."""
        if self._executor is not None:
            self._executor.rest()

    def cancel(self) -> None:
        """Stop all work items, if there may be any."""
        if self._executor is not None:
            self._executor.cancel()

    def _started(self) -> Executor:
        if self._executor is None:
            self._executor = self._make()
        return self._executor
