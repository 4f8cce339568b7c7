"""Run each work item, or pass of work items, in a worker process of its own on this machine.

CPU cores, memory and GPUs are booked before a worker starts, and never twice. A worker is a
process group of its own, so that a stop reaches what it started too. How it ended is told apart:
its own error, a timeout, a signal, the kernel's out-of-memory killer, or our memory limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from qpipe.core import file_lock
from qpipe.core.executor import WorkEnd, WorkItem, WorkOutput, WorkProgress
from qpipe.core.graph import Resources
from qpipe.core.layout import RunPaths
from qpipe.errors import (
    EngineMissingError,
    OutOfMemoryError,
    OutOfSpaceError,
    QpipeError,
    StageError,
    StageTimeoutError,
    WorkerCrashError,
)
from qpipe.executors.processes import log_end, memory_in_use, signal_group
from qpipe.executors.record import to_outcome, to_record
from qpipe.machine.filesystem import is_full
from qpipe.machine.gpus import problem as gpu_problem
from qpipe.machine.program import oom_kills, signal_name
from qpipe.support.files import plain_name
from qpipe.worker import JOB, NO_ROOM, PROGRESS, RESULT

# Seconds between two looks at what workers tell, and where the system does not say that one ended.
_LOOK = 0.1
_TICK = 0.02
_GRACE = 3.0

# Bytes of a node's name that its job folder and log bear.
_SLUG = 120

# Workers that may run at a time on any machine, however little they book.
_AT_LEAST = 8


@dataclass(frozen=True)
class Capacity:
    """The resources that this executor may book. ``memory`` in bytes; None: not limited by us.
    ``gpus`` by the names that CUDA_VISIBLE_DEVICES has for them."""

    cpus: int
    memory: int | None
    gpus: Sequence[str] = ()


@dataclass
class _WorkerItem:
    """A work item of a worker, and the folder that they share."""

    item: WorkItem
    folder: Path
    progress: IO[bytes] | None = None

    @property
    def name(self) -> str:
        return self.item.node.name


@dataclass
class _Worker:
    tasks: Sequence[_WorkerItem]
    process: subprocess.Popen[bytes]
    log: Path
    gpus: Sequence[str]
    started: float
    oom_kills: int
    end: int | None
    """What becomes readable when the process ends; None where there is no such thing."""
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

    def close(self) -> None:
        """Close the progress files, and what told of the end."""
        if self.end is not None:
            os.close(self.end)
        for task in self.tasks:
            if task.progress is not None:
                task.progress.close()


@dataclass
class LocalExecutor:
    """Worker processes on this machine, for one run.

    ``enforce_memory`` stops a worker that grows beyond the memory that its stage declared.
    """

    paths: RunPaths
    capacity: Capacity
    enforce_memory: bool = False
    workers: list[_Worker] = field(default_factory=list)

    def check(self, needs: Resources) -> str | None:
        """Why these needs can never be met on this machine, or None."""
        if needs.gpus > len(self.capacity.gpus):
            why = "" if self.capacity.gpus else f": {gpu_problem() or 'none is to be used'}"
            offered = len(self.capacity.gpus)
            return f"it needs {needs.gpus} GPU(s), and this machine offers {offered}{why}"
        if self.capacity.memory is not None and needs.memory > self.capacity.memory:
            return (
                f"it needs {needs.memory / 1e9:.1f} GB of memory, and "
                f"{self.capacity.memory / 1e9:.1f} GB may be used (executor.memory; what works in "
                "threads needs less with a smaller executor.cpus)"
            )
        return None

    def has_room(self, needs: Resources) -> bool:
        """True if cores, memory and GPUs are free; more cores than there are means all of them."""
        if len(self.workers) >= max(_AT_LEAST, 2 * self.capacity.cpus):
            return False  # work items that book no core are many processes all the same
        return self.fits([*(worker.needs for worker in self.workers), needs])

    def fits(self, needs: Sequence[Resources]) -> bool:
        """True if there are as many cores, bytes and GPUs."""
        cpus = sum(min(each.cpus, self.capacity.cpus) for each in needs)
        memory = sum(each.memory for each in needs)
        gpus = sum(each.gpus for each in needs)
        return (
            cpus <= self.capacity.cpus
            and gpus <= len(self.capacity.gpus)
            and (self.capacity.memory is None or memory <= self.capacity.memory)
        )

    def submit(self, *items: WorkItem) -> Sequence[str | None]:
        """Start a worker; its log, under the name of each item."""
        try:
            worker = self._start(items)
        except OSError as error:
            raise _explain(items[0], error) from error
        self.workers.append(worker)
        return [_named(worker.log, task.folder.name) for task in worker.tasks]

    def _start(self, items: Sequence[WorkItem]) -> _Worker:
        tasks = [self._task(item) for item in items]
        needs, runtime = items[0].needs, items[0].node.runtime
        log = self.paths.logs / f"{tasks[0].folder.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)  # that of a pass has other names too
        gpus = self._free_gpus()[: needs.gpus]
        kills = oom_kills()
        folders = [str(task.folder) for task in tasks]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [runtime.python or sys.executable, "-m", "qpipe.worker", *folders],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment(self._threads(needs), gpus),
                pass_fds=[item.lock_fd for item in items],
                start_new_session=True,
            )
        return _Worker(tasks, process, log, gpus, time.monotonic(), kills, _end_of(process.pid))

    def _task(self, item: WorkItem) -> _WorkerItem:
        folder = self.paths.jobs / f"{plain_name(item.node.name, _SLUG)}-{item.key[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        for name in (PROGRESS, RESULT):
            (folder / name).unlink(missing_ok=True)
        record = {**to_record(item), "threads": self._threads(item.needs)}
        file_lock.write_atomic(folder / JOB, json.dumps(record, indent=1).encode(), sync=False)
        return _WorkerItem(item, folder)

    def _threads(self, needs: Resources) -> int:
        return min(max(1, needs.cpus), self.capacity.cpus)

    def _free_gpus(self) -> list[str]:
        """The names of the GPUs that no worker has."""
        taken = {name for worker in self.workers for name in worker.gpus}
        return [name for name in self.capacity.gpus if name not in taken]

    def _environment(self, threads: int, gpus: Sequence[str]) -> Mapping[str, str]:
        """A worker's environment: the threads and GPUs that were booked, no spinning while idle."""
        own = {
            "OMP_NUM_THREADS": str(threads),
            "OMP_WAIT_POLICY": "passive",
            "PYTHONUNBUFFERED": "1",
        }
        if self.capacity.gpus:
            own["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        return {**os.environ, **own}

    def wait(self, timeout: float) -> Sequence[WorkEnd | WorkProgress]:
        """WorkProgress and ends, as soon as there are any."""
        until = time.monotonic() + timeout
        while True:
            events = [event for worker in list(self.workers) for event in self._look(worker)]
            if events or time.monotonic() >= until:
                return events
            self._pause(until - time.monotonic())

    def _pause(self, seconds: float) -> None:
        """Until a worker ends, or the next look is due; ``seconds`` at most."""
        ends = [worker.end for worker in self.workers if worker.end is not None]
        if self.enforce_memory or len(ends) < len(self.workers):
            time.sleep(_TICK)
            return
        ended = select.poll()
        for end in ends:
            ended.register(end, select.POLLIN)
        ended.poll(1000 * max(0.0, min(_LOOK, seconds)))

    def cancel(self) -> None:
        """Ask all workers to stop, then make them."""
        for worker in self.workers:
            signal_group(worker.process.pid, signal.SIGTERM)
        try:
            until = time.monotonic() + _GRACE
            for worker in self.workers:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.process.wait(max(0.0, until - time.monotonic()))
        finally:  # a second Ctrl-C only ends the grace
            for worker in self.workers:
                _stop(worker)
                worker.close()
            self.workers.clear()

    # -- one worker -----------------------------------------------------------------------------

    def _look(self, worker: _Worker) -> list[WorkEnd | WorkProgress]:
        ended = worker.process.poll() is not None
        events: list[WorkEnd | WorkProgress] = [
            event for task in worker.tasks for event in _new_progress(task)
        ]
        timeout = worker.timeout
        if ended:
            outcomes = [self._outcome(worker, task) for task in worker.tasks]
        elif timeout is not None and time.monotonic() - worker.started > timeout:
            _stop(worker)
            outcomes = [
                StageTimeoutError(
                    f"{task.name}: stopped after {timeout:g} s, its time limit; "
                    "raise run.timeout (or the stage's own timeout) if it only needs longer"
                )
                for task in worker.tasks
            ]
        else:
            self._watch_memory(worker)
            return events
        self.workers.remove(worker)
        # What the worker started and left behind must not go on.
        signal_group(worker.process.pid, signal.SIGKILL)
        worker.close()
        ends = [WorkEnd(task.item, end) for task, end in zip(worker.tasks, outcomes, strict=True)]
        return [*events, *ends]

    def _watch_memory(self, worker: _Worker) -> None:
        allowed = worker.needs.memory
        if self.enforce_memory and allowed:
            used = memory_in_use(worker.process.pid)
            if used > allowed:
                worker.over_memory = used
                _stop(worker)

    def _outcome(self, worker: _Worker, task: _WorkerItem) -> WorkOutput | QpipeError:
        name, code = task.name, worker.process.returncode
        result = task.folder / RESULT
        if worker.over_memory:
            allowed = worker.needs.memory
            return OutOfMemoryError(
                f"{name}: stopped, it used {worker.over_memory / 1e6:.0f} MB of memory and may use "
                f"{allowed / 1e6:.0f} MB; raise the stage's resources.memory"
            )
        if result.exists():
            outcome = to_outcome(json.loads(result.read_bytes()))
            if isinstance(outcome, WorkerCrashError):
                return WorkerCrashError(f"{outcome}{log_end(worker.log)}")
            return outcome
        if code == NO_ROOM:
            return OutOfSpaceError(
                f"{name}: the disk of the run folder {task.folder} is full; free some space, "
                "and run the same command again"
            )
        if code == -signal.SIGKILL and oom_kills() > worker.oom_kills:
            return OutOfMemoryError(
                f"{name}: the kernel killed it, memory ran out; run fewer nodes at a time "
                "(executor.cpus=1), or use a machine with more memory"
            )
        if code < 0:
            return WorkerCrashError(
                f"{name}: the worker was killed by {signal_name(-code)}{log_end(worker.log)}"
            )
        return WorkerCrashError(
            f"{name}: the worker ended with exit code {code} and left no result"
            f"{log_end(worker.log)}"
        )


def _new_progress(task: _WorkerItem) -> list[WorkProgress]:
    if task.progress is None:
        try:
            task.progress = (task.folder / PROGRESS).open("rb")
        except FileNotFoundError:
            return []
    last = None
    while (line := task.progress.readline()).endswith(b"\n"):
        last = json.loads(line)
    if line:  # half a line: come back for the whole of it
        task.progress.seek(-len(line), os.SEEK_CUR)
    return [WorkProgress(task.item, *last)] if last else []


def _end_of(pid: int) -> int | None:
    """A file descriptor that is readable once the process has ended, under Linux."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # a kernel before 5.3, a sandbox, too many open files
        return None


def _stop(worker: _Worker) -> None:
    signal_group(worker.process.pid, signal.SIGKILL)
    worker.process.wait()


def _named(log: Path, name: str) -> str:
    """The path of a log under the name of one of the work items that share it, where it can be."""
    path = log.with_name(f"{name}.log")
    if path != log:
        try:
            path.unlink(missing_ok=True)
            path.hardlink_to(log)
        except OSError:  # a file system without hard links
            return str(log)
    return str(path)


def _explain(item: WorkItem, error: OSError) -> QpipeError:
    """Why a worker could not be started."""
    name, python = item.node.name, item.node.runtime.python
    if is_full(error):
        return OutOfSpaceError(
            f"{name}: the disk of the run folder is full ({error.filename}); free some space, "
            "and run the same command again"
        )
    if python is not None and error.filename == python:
        return EngineMissingError(
            f"{name}: its interpreter {python} cannot be started ({error.strerror}); "
            "`qpipe doctor` says how to set up its environment"
        )
    return StageError(f"{name}: its worker cannot be started: {error}")
