"""Run each work item in this process, one after the other: for tests, debuggers and tiny work."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence

from qpipe.core.executor import WorkEnd, WorkItem, WorkProgress
from qpipe.core.graph import Node, Resources
from qpipe.executors.record import to_outcome, to_record
from qpipe.worker import perform_all


class InlineExecutor:
    """One work item at a time, in the calling thread, without timeouts or other interpreters."""

    def __init__(self) -> None:
        """No work item is held yet.

        Sets OMP_WAIT_POLICY=passive in the environment unless it is set, as for workers: with
        torch 2.13, OpenMP's waiting threads took an AutoRound quantization from 22 s to 140 s.
        """
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        self._passes: deque[tuple[WorkItem, ...]] = deque()

    def foresee(self, nodes: Sequence[Node]) -> None:
        """Keeps what it imports anyway."""

    def check(self, needs: Resources) -> str | None:
        """Everything fits, one at a time."""
        return None

    def has_room(self, needs: Resources) -> bool:
        """True if no work item is held."""
        return not self._passes

    def held_up(self) -> str:
        """Nothing: it books nothing."""
        return ""

    def fits(self, needs: Sequence[Resources]) -> bool:
        """True of one work item."""
        return len(needs) <= 1

    def submit(self, *items: WorkItem) -> Sequence[str | None]:
        """Take a work item, or a pass of several; it runs in `wait`."""
        self._passes.append(items)
        return [None for _ in items]

    def wait(self, timeout: float) -> Sequence[WorkEnd | WorkProgress]:
        """Run what is held to its end."""
        if not self._passes:
            time.sleep(timeout)
            return []
        items = self._passes.popleft()
        events: list[WorkEnd | WorkProgress] = []

        def reporter(item: WorkItem) -> Callable[..., None]:
            return lambda *progress: events.append(WorkProgress(item, *progress))

        results = perform_all(list(map(to_record, items)), list(map(reporter, items)))
        ends = [
            WorkEnd(item, to_outcome(result)) for item, result in zip(items, results, strict=True)
        ]
        return [*events, *ends]

    def rest(self) -> None:
        """Keeps nothing ready."""

    def cancel(self) -> None:
        """Forget what is held."""
        self._passes.clear()
