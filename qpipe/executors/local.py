"""Run each job in a worker process of its own on this machine.

CPU cores, memory and GPUs are booked before a worker starts, and never twice. A worker is a
process group of its own, so that a stop reaches what it started too. How it ended is told apart:
its own error, a timeout, a signal, the kernel's out-of-memory killer, or our memory limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from qpipe.core import lock
from qpipe.core.executor import Done, Job, Output, Progress
from qpipe.core.graph import Resources
from qpipe.core.layout import RunPaths
from qpipe.errors import OutOfMemoryError, QpipeError, StageTimeoutError, WorkerCrashError
from qpipe.executors.record import to_outcome, to_record
from qpipe.worker import JOB, PROGRESS, RESULT

_TICK = 0.02
_GRACE = 3.0
_TAIL = 12


@dataclass(frozen=True)
class Capacity:
    """What this executor may book. ``memory`` in bytes; None: not limited by us."""

    cpus: int
    memory: int | None
    gpus: int


@dataclass
class _Worker:
    job: Job
    process: subprocess.Popen[bytes]
    folder: Path
    log: Path
    started: float
    oom_kills: int
    progress: IO[bytes] | None = None
    over_memory: int = 0


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
        if needs.gpus > self.capacity.gpus:
            return f"it needs {needs.gpus} GPU(s), and this machine offers {self.capacity.gpus}"
        if self.capacity.memory is not None and needs.memory > self.capacity.memory:
            return (
                f"it needs {needs.memory / 1e9:.1f} GB of memory, and "
                f"{self.capacity.memory / 1e9:.1f} GB may be used (executor.memory)"
            )
        return None

    def has_room(self, needs: Resources) -> bool:
        """Whether cores, memory and GPUs are free; more cores than there are means all of them."""
        booked = [worker.job.node.runtime.resources for worker in self.workers]
        cpus = sum(min(b.cpus, self.capacity.cpus) for b in booked)
        memory = sum(b.memory for b in booked)
        gpus = sum(b.gpus for b in booked)
        return (
            cpus + min(needs.cpus, self.capacity.cpus) <= self.capacity.cpus
            and gpus + needs.gpus <= self.capacity.gpus
            and (self.capacity.memory is None or memory + needs.memory <= self.capacity.memory)
        )

    def submit(self, job: Job) -> str | None:
        """Start a worker; the path of its log."""
        slug = re.sub(r"[^A-Za-z0-9._=+-]+", "_", job.node.name) + "-" + job.key[:8]
        folder = self.paths.jobs / slug
        folder.mkdir(parents=True, exist_ok=True)
        for name in (PROGRESS, RESULT):
            (folder / name).unlink(missing_ok=True)
        record = to_record(job)
        record["threads"] = min(record["threads"], self.capacity.cpus)
        lock.write_atomic(folder / JOB, json.dumps(record, indent=1).encode(), sync=False)
        log = self.paths.logs / f"{slug}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        oom_kills = _oom_kills()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [job.node.runtime.python or sys.executable, "-m", "qpipe.worker", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(record["threads"]),
                pass_fds=(job.lock_fd,),
                start_new_session=True,
            )
        self.workers.append(_Worker(job, process, folder, log, time.monotonic(), oom_kills))
        return str(log)

    def wait(self, timeout: float) -> Sequence[Done | Progress]:
        """Progress and ends, as soon as there are any."""
        until = time.monotonic() + timeout
        while True:
            events = [event for worker in list(self.workers) for event in self._look(worker)]
            if events or time.monotonic() >= until:
                return events
            time.sleep(_TICK)

    def cancel(self) -> None:
        """Ask all workers to stop, then make them."""
        for worker in self.workers:
            _signal(worker, signal.SIGTERM)
        until = time.monotonic() + _GRACE
        for worker in self.workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(0.0, until - time.monotonic()))
            _signal(worker, signal.SIGKILL)
            worker.process.wait()
        self.workers.clear()

    # -- one worker -----------------------------------------------------------------------------

    def _look(self, worker: _Worker) -> list[Done | Progress]:
        ended = worker.process.poll() is not None
        events: list[Done | Progress] = list(_new_progress(worker))
        timeout = worker.job.node.runtime.timeout
        if ended:
            outcome = self._outcome(worker)
        elif timeout is not None and time.monotonic() - worker.started > timeout:
            _stop(worker)
            outcome = StageTimeoutError(
                f"{worker.job.node.name}: stopped after {timeout:g} s, its time limit; "
                "raise run.timeout (or the stage's own timeout) if it only needs longer"
            )
        else:
            self._watch_memory(worker)
            return events
        self.workers.remove(worker)
        # What the worker started and left behind must not go on.
        _signal(worker, signal.SIGKILL)
        if worker.progress is not None:
            worker.progress.close()
        events.append(Done(worker.job, outcome))
        return events

    def _watch_memory(self, worker: _Worker) -> None:
        allowed = worker.job.node.runtime.resources.memory
        if self.enforce_memory and allowed:
            used = _resident(worker.process.pid)
            if used > allowed:
                worker.over_memory = used
                _stop(worker)

    def _outcome(self, worker: _Worker) -> Output | QpipeError:
        name, code = worker.job.node.name, worker.process.returncode
        result = worker.folder / RESULT
        if worker.over_memory:
            allowed = worker.job.node.runtime.resources.memory
            return OutOfMemoryError(
                f"{name}: stopped, it used {worker.over_memory / 1e6:.0f} MB of memory and may use "
                f"{allowed / 1e6:.0f} MB; raise the stage's resources.memory"
            )
        if result.exists():
            outcome = to_outcome(json.loads(result.read_bytes()))
            if isinstance(outcome, WorkerCrashError):
                return WorkerCrashError(f"{outcome}{_tail(worker.log)}")
            return outcome
        if code == -signal.SIGKILL and _oom_kills() > worker.oom_kills:
            return OutOfMemoryError(
                f"{name}: the kernel killed it, memory ran out; run fewer nodes at a time "
                "(executor.cpus=1), or use a machine with more memory"
            )
        if code < 0:
            return WorkerCrashError(
                f"{name}: the worker was killed by {signal.Signals(-code).name}{_tail(worker.log)}"
            )
        return WorkerCrashError(
            f"{name}: the worker ended with exit code {code} and left no result{_tail(worker.log)}"
        )


def _environment(threads: int) -> Mapping[str, str]:
    """The worker's environment: as many threads as were booked, and no spinning while idle."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
        "PYTHONUNBUFFERED": "1",
    }


def _new_progress(worker: _Worker) -> list[Progress]:
    if worker.progress is None:
        try:
            worker.progress = (worker.folder / PROGRESS).open("rb")
        except FileNotFoundError:
            return []
    last = None
    while (line := worker.progress.readline()).endswith(b"\n"):
        last = json.loads(line)
    if line:  # half a line: come back for the whole of it
        worker.progress.seek(-len(line), os.SEEK_CUR)
    return [Progress(worker.job, *last)] if last else []


def _signal(worker: _Worker, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.process.pid, number)


def _stop(worker: _Worker) -> None:
    _signal(worker, signal.SIGKILL)
    worker.process.wait()


def _resident(pid: int) -> int:
    """Resident bytes of a process, 0 once it is gone (or where /proc is not)."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _oom_kills() -> int:
    """How many processes the kernel has killed for memory since boot (Linux; else 0)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _tail(log: Path) -> str:
    """The last lines of a log, indented, with its path; nothing if it is empty."""
    lines = log.read_text(errors="replace").rstrip().splitlines()[-_TAIL:]
    if not lines:
        return f" (its log {log} is empty)"
    return "; the end of its log " + str(log) + ":\n" + "\n".join("    " + line for line in lines)
