"""`python -m qpipe.executors.fork_server FD PARENT LOG MODULE…`: import once, fork for each job.

torch and transformers take seconds to import; a process that has imported them, and done nothing
else, can be copied in some milliseconds. Each copy is a worker like any other: a session, log,
environment, descriptors and end of its own. Linux only.

Over the socket FD the executor (`qpipe.executors.forking`) is told ``ready``, with why there will
be no forks if there will be none; asks for ``folders`` to be worked on, with the log and the locks
as descriptors, and is told the ``pid``; is told what ``ended``, and says which of it to ``reap``:
until then no other process gets that number. Once it has gone, all that was forked is killed.
"""

from __future__ import annotations

import array
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from qpipe import worker
from qpipe.executors import thread_counts
from qpipe.executors.processes import signal_group

# Bytes of a request, and descriptors that come with one.
_MOST_BYTES, _MOST_FDS = 1 << 16, 64

# Characters of a reason.
_MOST_WORDS = 400

# Threads that a fork does no harm: jemalloc (in pyarrow 26) stops its own before one (its
# background_thread.c, background_thread_postfork_child).
_HARMLESS = frozenset({"jemalloc_bg_thd"})

# linux/prctl.h
_PR_SET_PDEATHSIG = 1


def main(fd: int, parent: int, log: Path, modules: Sequence[str]) -> None:
    """Serve until the executor has gone."""
    # It goes off when the thread that started us ends: an executor is used by one thread.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    worker.leave_the_current_folder()
    with socket.socket(fileno=fd) as connection:
        problem = _prepare(modules)
        _send(connection, {"ready": problem[:_MOST_WORDS]})
        if problem:
            connection.recv(1)  # until it has gone
            return
        printed = log.read_bytes()
        gc.collect()
        gc.freeze()
        _Server(connection, printed).serve()


def _prepare(modules: Sequence[str]) -> str:
    """Import the modules; why this process must not be forked, empty if it may be."""
    try:
        for module in modules:
            importlib.import_module(module)
    except Exception as error:  # noqa: BLE001  a worker imports it again, and says it to the user
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    # Those of OpenBLAS end before a fork (driver/others/memory.c, pthread_atfork): fork once.
    if not _forks_well():
        return "CUDA was started as torch was imported"
    opened = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]  # noqa: PTH208
    if any(path.startswith("/dev/nvidia") for path in opened):
        return "a GPU was opened as modules were imported"
    if threads := _threads():
        return f"{len(threads)} threads run after modules were imported ({', '.join(threads)})"
    unset = [path for path, setter in thread_counts.libraries().items() if setter is None]
    return f"nothing is known that sets the threads of {unset[0]}" if unset else ""


def _forks_well() -> bool:
    pid = _fork()
    if pid == 0:
        os._exit(1 if _cuda_was_started() else 0)
    return os.waitpid(pid, 0)[1] == 0


def _cuda_was_started() -> bool:
    """Asked in a fork: torch (2.13) notes there that CUDA cannot be used."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return bool(getattr(cuda, "_is_in_bad_fork", lambda: False)())


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns of threads, of which those are left that were looked at.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _threads() -> list[str]:
    """The names of the threads beside this one that a fork would break."""
    tasks = [task for task in Path("/proc/self/task").iterdir() if task.name != str(os.getpid())]
    names = [(task / "comm").read_text().strip() for task in tasks]
    return sorted(name for name in names if name not in _HARMLESS)


class _Server:
    """``printed`` is what importing said: each worker's log begins with it."""

    def __init__(self, connection: socket.socket, printed: bytes) -> None:
        self.connection, self.printed = connection, printed
        self.living: set[int] = set()
        self.woken, wake = os.pipe()
        for fd in (self.woken, wake):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self.wake = wake

    def serve(self) -> None:
        """Fork, and tell of ends, until the other side has gone."""
        events = select.poll()
        events.register(self.connection, select.POLLIN)
        events.register(self.woken, select.POLLIN)
        while True:
            for fd, _ in events.poll():
                if fd == self.woken:
                    os.read(self.woken, 1 << 10)
                elif not self._answer():
                    self._end()
                    return
            self._tell_of_ends()

    def _answer(self) -> bool:
        data, fds = _received(self.connection)
        if not data:
            return False
        request = json.loads(data)
        if "reap" in request:
            os.waitpid(request["reap"], 0)
            return True
        pid = _fork()
        if pid == 0:
            self._become_a_worker(request, fds)
        for fd in fds:
            os.close(fd)
        self.living.add(pid)
        _send(self.connection, {"pid": pid})
        return True

    def _become_a_worker(self, request: Mapping[str, Any], fds: Sequence[int]) -> NoReturn:
        """Never come back to what the server does."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            server = os.getppid()
            for fd in (self.connection.detach(), self.woken, self.wake):
                os.close(fd)
            os.setsid()
            log, *locks = fds
            for stream in (1, 2):
                os.dup2(log, stream)
            os.close(log)
            for fd in locks:
                os.set_inheritable(fd, True)
            os.write(1, self.printed)
            os.environ.update(request["environment"])
            _as_if_imported_here(request["threads"])
            sys.argv = ["qpipe.worker", *request["folders"]]
            code = worker.main(*map(Path, request["folders"]), parent=server)
            worker.leave(code)
        except BaseException:  # noqa: BLE001  as an interpreter ends
            traceback.print_exc()
        finally:
            os._exit(1)

    def _tell_of_ends(self) -> None:
        for pid in list(self.living):
            # Not waited for yet: its number stays its own until the executor has done with it.
            end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if end is not None:
                self.living.discard(pid)
                exited = end.si_code == os.CLD_EXITED
                code = end.si_status if exited else -end.si_status
                _send(self.connection, {"ended": pid, "code": code})

    def _end(self) -> None:
        for pid in self.living:
            signal_group(pid, signal.SIGKILL)


def _as_if_imported_here(threads: int) -> None:
    thread_counts.set_threads(threads)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # else all workers would draw the same numbers


def _received(connection: socket.socket) -> tuple[bytes, list[int]]:
    try:
        data, ancillary, _, _ = connection.recvmsg(
            _MOST_BYTES, socket.CMSG_SPACE(4 * _MOST_FDS), socket.MSG_CMSG_CLOEXEC
        )
    except ConnectionResetError:
        return b"", []
    fds = array.array("i")
    for level, kind, raw in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(raw)
    return data, list(fds)


def _send(connection: socket.socket, message: Mapping[str, Any]) -> None:
    try:
        connection.send(json.dumps(message).encode())
    except (BrokenPipeError, ConnectionResetError):
        return  # it has gone, which is seen next


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
