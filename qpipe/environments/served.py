"""A script that stays in its own environment, and answers requests: a model loaded once.

The child is of the worker's process group and counts to its memory, as with `call`; it ends with
the worker, or when it is closed. How it ended is told apart as `call` tells it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from typing import IO, Any

from qpipe.core import file_lock
from qpipe.core.key import Json
from qpipe.environments import child_server
from qpipe.environments.call import ended, variables
from qpipe.environments.environment import Environment
from qpipe.errors import EngineMissingError, from_record
from qpipe.machine.program import oom_kills
from qpipe.support.closable import Closable


class ServedScript(Closable):
    """The environment's script, opened with ``params``; a context manager.

    ``more`` is added to the process environment. Raises EngineMissingError for an environment
    that cannot be used, and what `ask` raises.
    """

    def __init__(
        self,
        environment: Environment,
        params: Mapping[str, Json],
        *,
        threads: int,
        more: Mapping[str, str],
    ) -> None:
        if why := environment.problem():
            raise EngineMissingError(f"{environment.name}: {why}")
        self.environment = environment
        self._kills = oom_kills()
        with ExitStack() as stack:
            stack.enter_context(file_lock.in_use(environment.file_lock_path))
            self._requests, self._answers, self._process = _start(
                environment,
                {**variables(environment, threads), **more},
                stack,
            )
            self._stack = stack.pop_all()
        try:
            self.ask(params)
        except BaseException:
            self.close()
            raise

    def ask(self, request: Mapping[str, Json]) -> tuple[dict[str, Any], bytes]:
        """The answer to a request, and the bytes that came with it.

        Raises OutOfMemoryError, WorkerCrashError for a process that was killed or left no answer,
        and what the script raises; after that there are no more answers.
        """
        try:
            data = json.dumps(dict(request)).encode() + b"\n"
            while data:
                data = data[os.write(self._requests, data) :]
            line = self._answers.readline()
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            raise self._end()
        record: dict[str, Any] = json.loads(line)
        if "error" in record:
            error = record["error"]
            message = f"{self.environment.name}: {error['message']}"
            raise from_record({**error, "message": message})
        payload = self._answers.read(record["bytes"])
        if len(payload) < record["bytes"]:
            raise self._end()
        return record["answer"], payload

    def _end(self) -> Exception:
        code = self._process.wait()
        return ended(self.environment, code, oom=oom_kills() > self._kills)

    def close(self) -> None:
        """End the process."""
        self._stack.close()


def _start(
    environment: Environment, process_environment: Mapping[str, str], stack: ExitStack
) -> tuple[int, IO[bytes], subprocess.Popen[bytes]]:
    """(descriptor for requests, answers to read, the process), all closed by ``stack``."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    try:
        process = subprocess.Popen(
            [str(environment.python), "-I", "-u", child_server.__file__, str(environment.script),
             str(theirs_in), str(theirs_out), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            env=dict(process_environment),
            pass_fds=(theirs_in, theirs_out),
        )  # fmt: skip
    except BaseException:
        os.close(ours_in)
        os.close(ours_out)
        raise
    finally:
        os.close(theirs_in)
        os.close(theirs_out)
    stack.enter_context(process)
    stack.callback(process.kill)
    answers = stack.enter_context(os.fdopen(ours_in, "rb"))
    stack.callback(os.close, ours_out)
    return ours_out, answers, process
