"""Run each work item, or pass of work items, in a worker process of its own on this machine.

CPU cores, memory and GPUs are booked before a worker starts, and never twice: in this run, and
where the book can be used (`qpipe.executors.sharing`) among all qpipe processes of the machine. A
worker is a process group of its own, so that a stop reaches what it started too.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from qpipe.core import file_lock
from qpipe.core.executor import WorkEnd, WorkItem, WorkProgress
from qpipe.core.graph import Node, Resources
from qpipe.core.layout import RunPaths
from qpipe.errors import EngineMissingError, OutOfSpaceError, QpipeError, StageError
from qpipe.executors.forking import ForkedProcess, Forks, WorkerOrder
from qpipe.executors.processes import SpawnedProcess, memory_in_use, signal_group
from qpipe.executors.record import to_record
from qpipe.executors.running import RunningWorker, WorkerTask
from qpipe.executors.sharing import MachineRoom, Reservation, Share
from qpipe.machine import gpus
from qpipe.machine.capacity import usable_cores, usable_memory
from qpipe.machine.filesystem import is_full
from qpipe.machine.program import oom_kills
from qpipe.support.files import plain_name
from qpipe.worker import JOB, PROGRESS, RESULT

# Seconds between two looks at what workers tell, and where the system does not say that one ended.
_LOOK = 0.1
_TICK = 0.02
_GRACE = 3.0

# In the environment of all workers: no spinning while idle.
_OWN = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1"}

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
class LocalExecutor:
    """Worker processes on this machine, for one run.

    ``enforce_memory`` stops a worker that grows beyond the memory that its stage declared;
    ``share`` books with all other qpipe processes of this machine, and ``notify`` is told if that
    cannot be done.
    """

    paths: RunPaths
    capacity: Capacity
    enforce_memory: bool = False
    share: bool = True
    notify: Callable[[str], None] = lambda text: None
    workers: list[RunningWorker] = field(default_factory=list)
    _reserved: tuple[Resources, Reservation] | None = None

    def check(self, needs: Resources) -> str | None:
        """Why these needs can never be met on this machine, or None."""
        if needs.gpus and needs.gpus > (offered := len(self._cards)):
            named = self.capacity.gpus
            why = gpus.unknown(named) if named and not offered else gpus.problem()
            why = f": {why or 'none is to be used'}" if not offered else ""
            return f"it needs {needs.gpus} GPU(s), and this machine offers {offered}{why}"
        if self.capacity.memory is not None and needs.memory > self.capacity.memory:
            return (
                f"it needs {needs.memory / 1e9:.1f} GB of memory, and "
                f"{self.capacity.memory / 1e9:.1f} GB may be used (executor.memory; what works in "
                "threads needs less with a smaller executor.cpus)"
            )
        return None

    @cached_property
    def _cards(self) -> Mapping[str, str]:
        """The names of GPUs that CUDA knows, by the card that each stands for."""
        names: dict[str, str] = {}
        for name, card in gpus.cards(tuple(self.capacity.gpus)).items():
            names.setdefault(card, name)
        return names

    @cached_property
    def _share(self) -> Share | None:
        if not self.share:
            return None
        own = self.capacity
        memory = None if own.memory is None else max(own.memory, usable_memory())
        whole = MachineRoom(max(own.cpus, usable_cores()), memory)
        return Share(self.paths.root.name, whole, self.notify)

    @cached_property
    def _forks(self) -> Forks:
        return Forks(self.paths.jobs / "imports.log", _OWN)

    def foresee(self, nodes: Sequence[Node]) -> None:
        """Import what several of them do, beside what runs first, for all of them to share."""
        self._forks.foresee(nodes)

    def _tidy(self) -> None:
        used = any(isinstance(worker.process, ForkedProcess) for worker in self.workers)
        self._forks.tidy(used)

    def has_room(self, needs: Resources) -> bool:
        """True if cores, memory and GPUs are free; more cores than there are means all of them.

        They are then kept for a worker that is started before the next `wait`.
        """
        self._let_go()
        if len(self.workers) >= max(_AT_LEAST, 2 * self.capacity.cpus):
            return False  # work items that book no core are many processes all the same
        if not self.fits([*(worker.needs for worker in self.workers), needs]):
            return False
        room = self._room(needs)
        if room is not None:
            self._reserved = needs, room
        return room is not None

    def held_up(self) -> str:
        """Say what other processes hold, for want of which there was no room the last time."""
        share = self._share
        return str(share.refusal) if share is not None and share.refusal is not None else ""

    def _room(self, needs: Resources) -> Reservation | None:
        """Room for a worker that fits beside the others of this run."""
        capped = replace(needs, cpus=min(needs.cpus, self.capacity.cpus))
        cards = self._free_cards() if needs.gpus else []
        if self._share is None:
            return Reservation(tuple(cards[: needs.gpus]))
        return self._share.reserve(capped, cards, first=not self.workers)

    def _let_go(self) -> None:
        """Give back what was reserved and not used."""
        if self._reserved is not None:
            self._reserved[1].close()
        self._reserved = None

    def fits(self, needs: Sequence[Resources]) -> bool:
        """True if there are as many cores, bytes and GPUs."""
        cpus = sum(min(each.cpus, self.capacity.cpus) for each in needs)
        memory = sum(each.memory for each in needs)
        wanted = sum(each.gpus for each in needs)
        return (
            cpus <= self.capacity.cpus
            and wanted <= (len(self._cards) if wanted else 0)
            and (self.capacity.memory is None or memory <= self.capacity.memory)
        )

    def submit(self, *items: WorkItem) -> Sequence[str | None]:
        """Start a worker; its log, under the name of each item."""
        room = self._taken(items[0].needs)
        try:
            worker = self._start(items, room)
        except BaseException as error:
            room.close()
            if isinstance(error, OSError):
                raise _explain(items[0], error) from error
            raise
        self.workers.append(worker)
        return [_named(worker.log, task.folder.name) for task in worker.tasks]

    def _taken(self, needs: Resources) -> Reservation:
        """The room that `has_room` reserved; else, as nobody asked, what can be had."""
        if self._reserved is not None and self._reserved[0] == needs:
            room, self._reserved = self._reserved[1], None
            return room
        self._let_go()
        return self._room(needs) or Reservation(tuple(self._free_cards()[: needs.gpus]))

    def _start(self, items: Sequence[WorkItem], room: Reservation) -> RunningWorker:
        tasks = [self._task(item) for item in items]
        needs, runtime = items[0].needs, items[0].node.runtime
        log = self.paths.logs / f"{tasks[0].folder.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)  # that of a pass has other names too
        names = [self._cards[card] for card in room.cards]
        kills = oom_kills()
        folders = [str(task.folder) for task in tasks]
        log.write_bytes(b"")
        own = self._environment(self._threads(needs), names)
        fds = [*(item.lock_fd for item in items), *room.fds]
        job = WorkerOrder(folders, log, own, self._threads(needs), fds)
        spawn = functools.partial(_spawned, job, runtime.python or sys.executable)
        server = self._forks.server(item.node for item in items)
        process = spawn() if server is None else ForkedProcess(server, job, spawn)
        return RunningWorker(tasks, process, log, room, time.monotonic(), kills)

    def _task(self, item: WorkItem) -> WorkerTask:
        folder = self.paths.jobs / f"{plain_name(item.node.name, _SLUG)}-{item.key[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        for name in (PROGRESS, RESULT):
            (folder / name).unlink(missing_ok=True)
        record = {**to_record(item), "threads": self._threads(item.needs)}
        file_lock.write_atomic(folder / JOB, json.dumps(record, indent=1).encode(), sync=False)
        return WorkerTask(item, folder)

    def _threads(self, needs: Resources) -> int:
        return min(max(1, needs.cpus), self.capacity.cpus)

    def _free_cards(self) -> list[str]:
        """The cards that no worker of this run has."""
        taken = {card for worker in self.workers for card in worker.room.cards}
        return [card for card in self._cards if card not in taken]

    def _environment(self, threads: int, names: Sequence[str]) -> Mapping[str, str]:
        """A worker's own part of its environment: the threads and GPUs that were booked."""
        own = {**_OWN, "OMP_NUM_THREADS": str(threads)}
        if self.capacity.gpus:
            own[gpus.VARIABLE] = ",".join(names)
        return own

    def wait(self, timeout: float) -> Sequence[WorkEnd | WorkProgress]:
        """WorkProgress and ends, as soon as there are any."""
        self._let_go()
        if self._share is not None:
            self._share.rest()
        until = time.monotonic() + timeout
        while True:
            events = [event for worker in list(self.workers) for event in self._look(worker)]
            if events or time.monotonic() >= until:
                return events
            self._pause(until - time.monotonic())

    def _pause(self, seconds: float) -> None:
        """Until a worker ends, or the next look is due; ``seconds`` at most."""
        ends = [worker.process.end for worker in self.workers if worker.process.end is not None]
        if self.enforce_memory or len(ends) < len(self.workers):
            time.sleep(_TICK)
            return
        ended = select.poll()
        for end in ends:
            ended.register(end, select.POLLIN)
        ended.poll(1000 * max(0.0, min(_LOOK, seconds)))

    def cancel(self) -> None:
        """Ask all workers to stop, then make them."""
        self._let_go()
        for worker in self.workers:
            _signal(worker, signal.SIGTERM)
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
            self.rest()

    def rest(self) -> None:
        """Wait for nothing any more, and keep nothing ready."""
        self._let_go()
        self._forks.close()
        if self._share is not None:
            self._share.leave()

    # -- one worker -----------------------------------------------------------------------------

    def _look(self, worker: RunningWorker) -> list[WorkEnd | WorkProgress]:
        ended = worker.process.poll() is not None
        events: list[WorkEnd | WorkProgress] = [*worker.new_progress()]
        if ended:
            outcomes = [worker.outcome(task) for task in worker.tasks]
        elif worker.is_late:
            _stop(worker)
            outcomes = [*worker.too_late()]
        else:
            self._watch_memory(worker)
            return events
        self.workers.remove(worker)
        # What the worker started and left behind must not go on.
        _signal(worker, signal.SIGKILL)
        worker.close()
        self._tidy()
        ends = [WorkEnd(task.item, end) for task, end in zip(worker.tasks, outcomes, strict=True)]
        return [*events, *ends]

    def _watch_memory(self, worker: RunningWorker) -> None:
        allowed = worker.needs.memory
        if self.enforce_memory and allowed and worker.process.pid is not None:
            used = memory_in_use(worker.process.pid)
            if used > allowed:
                worker.over_memory = used
                _stop(worker)


def _signal(worker: RunningWorker, number: signal.Signals) -> None:
    if worker.process.pid is not None:
        signal_group(worker.process.pid, number)


def _stop(worker: RunningWorker) -> None:
    _signal(worker, signal.SIGKILL)
    worker.process.wait()


def _spawned(job: WorkerOrder, python: str) -> SpawnedProcess:
    """A worker that is a process started anew."""
    with job.log.open("ab") as output:
        return SpawnedProcess(
            subprocess.Popen(
                [python, "-m", "qpipe.worker", *job.folders],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **job.environment},
                pass_fds=[*job.fds],
                start_new_session=True,
            )
        )


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
