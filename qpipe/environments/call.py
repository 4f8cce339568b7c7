"""Running an engine's script in its own environment, as a child of the stage's worker.

The worker stays what it is for every stage: it validates parameters, hashes what came out, and ends
as errors do. The child is of its process group and counts to its memory, so limits, timeouts and
Ctrl-C reach it; how the child ended is told apart as an executor tells it of a worker.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from qpipe.core import file_lock
from qpipe.core.key import Json
from qpipe.environments import child_runtime
from qpipe.environments.environment import Environment
from qpipe.errors import (
    EngineMissingError,
    OutOfMemoryError,
    QpipeError,
    WorkerCrashError,
    from_record,
)
from qpipe.machine.program import oom_kills, signal_name

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
"""The environment gets folders, and no say over where a model comes from."""

TOLD = ("tools", "computed_on")
"""What is told of how a script worked, beside its own facts."""


@dataclass(frozen=True)
class Call:
    """A request to a script; ``params`` is plain JSON. ``tools`` are distributions whose versions
    it is to report, ``device`` (cpu or cuda) is where it is to compute, ``note`` takes what goes on
    meanwhile, in a few words."""

    params: Mapping[str, Json]
    inputs: Mapping[str, Path]
    out: Path
    threads: int
    progress: Callable[[int, int, str], None]
    partial: Path | None = None
    tools: Sequence[str] = field(default_factory=tuple)
    device: str = "cpu"
    note: Callable[[str], None] = field(default=lambda words: None)


def call(environment: Environment, request: Call) -> dict[str, Any]:
    """The facts that the environment's script found out, with its ``tools``.

    Raises EngineMissingError for an environment that cannot be used, OutOfMemoryError,
    WorkerCrashError for a process that was killed or left no result, and what the script raises.
    """
    if why := environment.problem():
        raise EngineMissingError(f"{environment.name}: {why}")
    with (
        file_lock.in_use(environment.file_lock_path),
        TemporaryDirectory(prefix=f"qpipe-{environment.name}-") as name,
    ):
        folder = Path(name)
        (folder / child_runtime.JOB).write_text(json.dumps(_record(environment, request)))
        kills = oom_kills()
        code = _run(environment, request, folder)
        if (folder / child_runtime.RESULT).exists():
            return _facts(environment, json.loads((folder / child_runtime.RESULT).read_bytes()))
        raise ended(environment, code, oom=oom_kills() > kills)


def _record(environment: Environment, request: Call) -> dict[str, Any]:
    return {
        "script": str(environment.script),
        "params": dict(request.params),
        "inputs": {role: str(path) for role, path in request.inputs.items()},
        "out": str(request.out),
        "partial": str(request.partial) if request.partial else None,
        "threads": request.threads,
        "tools": list(request.tools),
        "device": request.device,
        "parent": os.getpid(),
    }


def _run(environment: Environment, request: Call, folder: Path) -> int:
    """Run the process to its end; its exit code. Nothing of it is left if we are interrupted."""
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(
            [
                str(environment.python),
                "-I",
                "-u",
                child_runtime.__file__,
                str(folder),
                str(writing),
            ],
            stdin=subprocess.DEVNULL,
            env=variables(environment, request.threads),
            pass_fds=(writing,),
        )
    finally:
        os.close(writing)
    with process, closing(os.fdopen(reading, "rb")) as lines:
        try:
            _listen(lines, request)
            return process.wait()
        except BaseException:
            process.kill()
            raise


def variables(environment: Environment, threads: int) -> dict[str, str]:
    """The process environment of what runs in an engine's environment."""
    # torch compiles by as many jobs as there are cores, unless MAX_JOBS says how many.
    jobs = {"OMP_NUM_THREADS": str(threads), "MAX_JOBS": os.environ.get("MAX_JOBS", str(threads))}
    return {**os.environ, **environment.variables(), **OFFLINE, **jobs}


def _listen(lines: IO[bytes], request: Call) -> None:
    """Pass progress and notes on until the process ends, and with it the pipe."""
    for line in lines:
        if line.endswith(b"\n"):
            news = json.loads(line)
            if isinstance(news, str):
                request.note(news)
            else:
                request.progress(*news)


def _facts(environment: Environment, result: Mapping[str, Any]) -> dict[str, Any]:
    if "error" in result:
        error = result["error"]
        raise from_record({**error, "message": f"{environment.name}: {error['message']}"})
    told = {name: result[name] for name in TOLD if name in result}
    return {**result["facts"], **told}


def ended(environment: Environment, code: int, *, oom: bool) -> QpipeError:
    """The error that explains the end of a process that left no result."""
    if code == -signal.SIGKILL and oom:
        return OutOfMemoryError(
            f"{environment.name}: the kernel killed it, memory ran out; run fewer nodes at a time "
            "(executor.cpus=1), or use a machine with more memory"
        )
    how = f"was killed by {signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
    return WorkerCrashError(f"{environment.name}: its process {how} and left no result")
