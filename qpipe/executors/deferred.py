"""An executor that is made once something is asked of it.

A run whose nodes are all cached needs none, and asks this machine nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qpipe.core.executor import Done, Executor, Job, Progress
from qpipe.core.graph import Resources


class DeferredExecutor:
    """The executor that ``make`` returns, which is called at the first question."""

    def __init__(self, make: Callable[[], Executor]) -> None:
        """Nothing is made yet."""
        self._make = make
        self._made: Executor | None = None

    def has_room(self, needs: Resources) -> bool:
        """Return whether a job with these needs may start now."""
        return self._executor().has_room(needs)

    def check(self, needs: Resources) -> str | None:
        """Return why these needs can never be met here, or None."""
        return self._executor().check(needs)

    def submit(self, *jobs: Job) -> str | None:
        """Start one worker, and return the path of its log."""
        return self._executor().submit(*jobs)

    def wait(self, timeout: float) -> Sequence[Done | Progress]:
        """Return what has happened, waiting up to ``timeout`` seconds."""
        return self._executor().wait(timeout)

    def cancel(self) -> None:
        """Stop all jobs, if there may be any."""
        if self._made is not None:
            self._made.cancel()

    def _executor(self) -> Executor:
        if self._made is None:
            self._made = self._make()
        return self._made
