"""Run each job in this process, one after the other: for tests, debuggers and tiny work."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from qpipe.core.executor import Done, Job, Progress
from qpipe.core.graph import Resources
from qpipe.executors.record import to_outcome, to_record
from qpipe.worker import perform_all


class InlineExecutor:
    """One job at a time, in the calling thread. Timeouts and other interpreters do not apply."""

    def __init__(self) -> None:
        """No job is held yet."""
        self._passes: deque[tuple[Job, ...]] = deque()

    def check(self, needs: Resources) -> str | None:
        """Everything fits, one at a time."""
        return None

    def has_room(self, needs: Resources) -> bool:
        """True if no job is held."""
        return not self._passes

    def submit(self, *jobs: Job) -> str | None:
        """Take a job, or a pass of several; it runs in `wait`."""
        self._passes.append(jobs)
        return None

    def wait(self, timeout: float) -> Sequence[Done | Progress]:
        """Run what is held to its end."""
        if not self._passes:
            time.sleep(timeout)
            return []
        jobs = self._passes.popleft()
        events: list[Done | Progress] = []

        def reporter(job: Job) -> Callable[[int, int, str], None]:
            return lambda *progress: events.append(Progress(job, *progress))

        results = perform_all(list(map(to_record, jobs)), list(map(reporter, jobs)))
        ends = [Done(job, to_outcome(result)) for job, result in zip(jobs, results, strict=True)]
        return [*events, *ends]

    def cancel(self) -> None:
        """Forget what is held."""
        self._passes.clear()
