"""Run each job in this process, one after the other: for tests, debuggers and tiny work."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from qpipe.core.executor import Done, Job, Progress
from qpipe.core.graph import Resources
from qpipe.executors.record import to_outcome, to_record
from qpipe.worker import perform_safely


class InlineExecutor:
    """One job at a time, in the calling thread. Timeouts and other interpreters do not apply."""

    def __init__(self) -> None:
        """No job is held yet."""
        self._jobs: deque[Job] = deque()

    def check(self, needs: Resources) -> str | None:
        """Everything fits, one at a time."""
        return None

    def has_room(self, needs: Resources) -> bool:
        """Whether no job is held."""
        return not self._jobs

    def submit(self, job: Job) -> str | None:
        """Take a job; it runs in `wait`."""
        self._jobs.append(job)
        return None

    def wait(self, timeout: float) -> Sequence[Done | Progress]:
        """Run the held job to its end."""
        if not self._jobs:
            time.sleep(timeout)
            return []
        job = self._jobs.popleft()
        events: list[Done | Progress] = []

        def progress(done: int, total: int, unit: str) -> None:
            events.append(Progress(job, done, total, unit))

        events.append(Done(job, to_outcome(perform_safely(to_record(job), progress))))
        return events

    def cancel(self) -> None:
        """Forget the held job."""
        self._jobs.clear()
