"""Workers that are forked from a process which has imported torch already: the executor's side.

`qpipe.executors.fork_server` says how that process is spoken to. Where it must not fork (threads
run in it, CUDA was started), or went before it did, a worker is started as all others are, and its
log says why.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qpipe.core.graph import Node
from qpipe.executors.processes import SpawnedProcess, end_of

_MOST_BYTES = 1 << 12

# Seconds within which a process that is ready forks, or one that is told to ends.
_PATIENCE = 30.0
_TICK = 0.01

# Nodes from which on importing once for all is faster.
_WORTH = 2


def can_fork() -> bool:
    """True where workers can be forked and watched."""
    return sys.platform == "linux" and hasattr(os, "fork") and hasattr(socket, "SCM_RIGHTS")


@dataclass(frozen=True)
class WorkerOrder:
    """The job of a worker: its folders, its log, its own part of the environment, the threads that
    it may use, and the descriptors that it keeps."""

    folders: Sequence[str]
    log: Path
    environment: Mapping[str, str]
    threads: int
    fds: Sequence[int]


class ForkServer:
    """A process that imports ``modules``, as it is started, and forks once it has."""

    def __init__(self, modules: Sequence[str], log: Path, own: Mapping[str, str]) -> None:
        """Start it; what importing prints goes to ``log``. ``own`` is added to its environment.

        Raises OSError.
        """
        self.modules = tuple(modules)
        self.place = place()
        self.problem: str | None = None
        """Why it does not fork, empty if it does; None as long as it imports."""
        self.ended: dict[int, int] = {}
        """Exit codes by process."""
        self.gone = False
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.connection = mine
        log.parent.mkdir(parents=True, exist_ok=True)
        with theirs, log.open("wb") as output:
            name = "qpipe.executors.fork_server"
            told = [str(theirs.fileno()), str(os.getpid()), str(log), *modules]
            self.process = subprocess.Popen(
                [sys.executable, "-m", name, *told],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **own},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def listen(self, seconds: float = 0.0) -> dict[str, Any]:
        """Take what it has told, or tells within some seconds, and return the last of it."""
        last: dict[str, Any] = {}
        self.connection.settimeout(seconds or None)
        flags = 0 if seconds else socket.MSG_DONTWAIT
        while not self.gone:
            try:
                data = self.connection.recv(_MOST_BYTES, flags)
            except (BlockingIOError, TimeoutError):
                return last
            except ConnectionResetError:
                data = b""
            if not data:
                self.gone = True
                return last
            last = json.loads(data)
            self.problem = last.get("ready", self.problem)
            if "ended" in last:
                self.ended[last["ended"]] = last["code"]
            if seconds and "pid" in last:
                return last
        return last

    def fork(self, job: WorkerOrder) -> int | None:
        """The process of a new worker; None if it has gone."""
        request = {
            "folders": [*job.folders],
            "environment": {**job.environment},
            "threads": job.threads,
        }
        with job.log.open("ab") as log:
            fds = [log.fileno(), *job.fds]
            try:
                socket.send_fds(self.connection, [json.dumps(request).encode()], fds)
            except (BrokenPipeError, ConnectionResetError):
                self.gone = True
                return None
        pid: int | None = self.listen(_PATIENCE).get("pid")
        return pid

    def reap(self, pid: int) -> None:
        """Have it let a worker's number go."""
        if not self.gone:
            try:
                self.connection.send(json.dumps({"reap": pid}).encode())
            except (BrokenPipeError, ConnectionResetError):
                self.gone = True

    def close(self) -> None:
        """End it, and what it has forked."""
        self.connection.close()
        self.gone = True
        try:
            if self.problem is None:
                self.process.kill()  # it imports: nothing was forked
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass
class Forks:
    """The fork server of a run, as long as there are nodes to come that are worth one."""

    log: Path
    own: Mapping[str, str]
    _coming: set[str] = field(default_factory=set)
    _server: ForkServer | None = None

    def foresee(self, nodes: Iterable[Node]) -> None:
        """Start it, if it saves an import: where two nodes or more import the same modules."""
        self.close()
        kinds: dict[tuple[str, ...], set[str]] = {}
        for node in nodes:
            if node.runtime.imports and node.runtime.python is None:
                kinds.setdefault(node.runtime.imports, set()).add(node.id)
        modules, coming = max(kinds.items(), key=lambda kind: len(kind[1]), default=((), set()))
        if len(coming) < _WORTH or not can_fork():
            return
        try:
            self._server, self._coming = ForkServer(modules, self.log, self.own), coming
        except OSError:  # whatever it is, workers meet it too, and say so
            return

    def server(self, nodes: Iterable[Node]) -> ForkServer | None:
        """The one for a worker on these nodes, None if it is to be started by itself."""
        nodes, server = [*nodes], self._server
        self._coming -= {node.id for node in nodes}
        runtime = nodes[0].runtime
        if server is None or server.problem or server.gone or runtime.python is not None:
            return None
        return server if server.modules == runtime.imports and server.place == place() else None

    def tidy(self, used: bool) -> None:
        """End it once nothing is to come for it, unless it is ``used``."""
        if not self._coming and not used:
            self.close()

    def close(self) -> None:
        """End it."""
        server, self._server = self._server, None
        self._coming = set()
        if server is not None:
            server.close()


def place() -> tuple[str, Mapping[str, str]]:
    """The folder and environment of this process: what a worker inherits."""
    return str(Path.cwd()), dict(os.environ)


@dataclass
class ForkedProcess:
    """A worker of a fork server, or the one that ``spawn`` starts if that cannot be."""

    server: ForkServer
    job: WorkerOrder
    spawn: Callable[[], SpawnedProcess]
    pid: int | None = None
    end: int | None = None
    returncode: int | None = None
    _instead: SpawnedProcess | None = None

    def __post_init__(self) -> None:
        """Begin, if the server is ready; else what it tells becomes readable first."""
        self.end = os.dup(self.server.connection.fileno())
        self.server.listen()
        self._begin()

    def poll(self) -> int | None:
        """The exit code, None as long as it runs."""
        if self._instead is not None:
            self.returncode = self._instead.poll()
        elif self.returncode is None:
            self.server.listen()
            if self.pid is None:
                self._begin()
            if self.pid is not None and self._instead is None:
                self.returncode = self._code(self.pid)
        return self.returncode

    def _code(self, pid: int) -> int | None:
        """Its children die soon after a server that was killed (`qpipe.worker`)."""
        gone = -signal.SIGKILL if self.server.gone else None
        return self.server.ended.get(pid, gone)

    def _begin(self) -> None:
        """Have it forked, once the server can."""
        if self.server.problem is None and not self.server.gone:
            return
        if not self.server.problem and not self.server.gone:
            self.pid = self.server.fork(self.job)
            if self.pid is not None:
                self._watch(end_of(self.pid))
                return
        why = self.server.problem or "the process that was to fork it has ended"
        with self.job.log.open("a") as log:
            log.write(f"qpipe: started by itself, not forked: {why}\n")
        instead = self._instead = self.spawn()
        self.pid = instead.pid
        self._watch(instead.take_end())

    def _watch(self, end: int | None) -> None:
        if self.end is not None:
            os.close(self.end)
        self.end = end

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended; of one that was not begun, that of SIGTERM.

        Raises subprocess.TimeoutExpired.
        """
        until = None if timeout is None else time.monotonic() + timeout
        if self.pid is None:
            self.returncode = -signal.SIGTERM
        while (code := self.poll()) is None:
            if until is not None and time.monotonic() >= until:
                raise subprocess.TimeoutExpired("worker", timeout or 0.0)
            time.sleep(_TICK)
        return code

    def close(self) -> None:
        """Let its number go."""
        self._watch(None)
        if self._instead is not None:
            self._instead.close()
        elif self.pid is not None:
            self.server.reap(self.pid)
