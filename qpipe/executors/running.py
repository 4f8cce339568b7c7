"""A worker process and the work items that it makes: what it tells while it runs, and how it ended.

How it ended is told apart: its own error, a timeout, a signal, the kernel's out-of-memory killer,
or our memory limit.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from qpipe.core.executor import WorkItem, WorkOutput, WorkProgress
from qpipe.core.graph import Resources
from qpipe.errors import (
    OutOfMemoryError,
    OutOfSpaceError,
    QpipeError,
    StageTimeoutError,
    WorkerCrashError,
)
from qpipe.executors.processes import WorkerProcess, log_end
from qpipe.executors.record import to_outcome
from qpipe.executors.sharing import Reservation
from qpipe.machine.program import oom_kills, signal_name
from qpipe.worker import NO_ROOM, PROGRESS, RESULT


@dataclass
class WorkerTask:
    """A work item of a worker, and the folder that they share."""

    item: WorkItem
    folder: Path
    progress: IO[bytes] | None = None

    @property
    def name(self) -> str:
        """The node's."""
        return self.item.node.name

    def new_progress(self) -> list[WorkProgress]:
        """The last line of progress that came since, if any did."""
        if self.progress is None:
            try:
                self.progress = (self.folder / PROGRESS).open("rb")
            except FileNotFoundError:
                return []
        last = None
        while (line := self.progress.readline()).endswith(b"\n"):
            last = json.loads(line)
        if line:  # half a line: come back for the whole of it
            self.progress.seek(-len(line), os.SEEK_CUR)
        return [WorkProgress(self.item, *last)] if last else []


@dataclass
class RunningWorker:
    """A worker, from its start to its end; ``room`` is what is reserved for it."""

    tasks: Sequence[WorkerTask]
    process: WorkerProcess
    log: Path
    room: Reservation
    started: float
    oom_kills: int
    over_memory: int = 0

    @property
    def needs(self) -> Resources:
        """The resources that the work items need, and share."""
        return self.tasks[0].item.needs

    @property
    def timeout(self) -> float | None:
        """The seconds that the work items may take one after another."""
        one = self.tasks[0].item.node.runtime.timeout
        return None if one is None else one * len(self.tasks)

    @property
    def is_late(self) -> bool:
        """True if it has run for longer than it may."""
        timeout = self.timeout
        return timeout is not None and time.monotonic() - self.started > timeout

    def new_progress(self) -> list[WorkProgress]:
        """The progress that its work items have told since."""
        return [event for task in self.tasks for event in task.new_progress()]

    def close(self) -> None:
        """Close the progress files and what is kept of the process; give its room back."""
        self.room.close()
        self.process.close()
        for task in self.tasks:
            if task.progress is not None:
                task.progress.close()

    def too_late(self) -> list[QpipeError]:
        """The errors of work items whose time is up."""
        return [
            StageTimeoutError(
                f"{task.name}: stopped after {self.timeout:g} s, its time limit; "
                "raise run.timeout (or the stage's own timeout) if it only needs longer"
            )
            for task in self.tasks
        ]

    def outcome(self, task: WorkerTask) -> WorkOutput | QpipeError:
        """The end of a work item, once the process has ended."""
        name, code = task.name, self.process.returncode or 0
        result = task.folder / RESULT
        if self.over_memory:
            return OutOfMemoryError(
                f"{name}: stopped, it used {self.over_memory / 1e6:.0f} MB of memory and may use "
                f"{self.needs.memory / 1e6:.0f} MB; raise the stage's resources.memory"
            )
        if result.exists():
            outcome = to_outcome(json.loads(result.read_bytes()))
            if isinstance(outcome, WorkerCrashError):
                return WorkerCrashError(f"{outcome}{log_end(self.log)}")
            return outcome
        if code == NO_ROOM:
            return OutOfSpaceError(
                f"{name}: the disk of the run folder {task.folder} is full; free some space, "
                "and run the same command again"
            )
        if code == -signal.SIGKILL and oom_kills() > self.oom_kills:
            return OutOfMemoryError(
                f"{name}: the kernel killed it, memory ran out; run fewer nodes at a time "
                "(executor.cpus=1), or use a machine with more memory"
            )
        if code < 0:
            return WorkerCrashError(
                f"{name}: the worker was killed by {signal_name(-code)}{log_end(self.log)}"
            )
        return WorkerCrashError(
            f"{name}: the worker ended with exit code {code} and left no result{log_end(self.log)}"
        )
