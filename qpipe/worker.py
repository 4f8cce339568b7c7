"""`python -m qpipe.worker FOLDER`: read job.json, run the stage, write result.json.

Nothing but the folder is shared with whoever started it: ``job.json`` says what to do,
``progress.jsonl`` grows while it works, and ``result.json`` appears whole at the end, with either
``{"files", "facts", "usage", "tools", "machine"}`` or ``{"error": {"type", "message"}}``.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import platform
import resource
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qpipe import __version__
from qpipe.core import lock
from qpipe.core.manifest import Usage, scan
from qpipe.errors import OutOfMemoryError, OutOfSpaceError, QpipeError, WorkerCrashError

JOB, PROGRESS, RESULT = "job.json", "progress.jsonl", "result.json"

# Seconds between two lines of progress.
_PROGRESS_EVERY = 0.1


def main(folder: Path) -> int:
    """Run the job in ``folder``; 0 if it succeeded."""
    job = json.loads((folder / JOB).read_bytes())
    _die_with(job["parent"])
    with (folder / PROGRESS).open("a") as file:
        result = perform_safely(job, _reporter(file.write, file.flush))
    lock.write_atomic(folder / RESULT, json.dumps(result, allow_nan=False).encode(), sync=False)
    return 1 if "error" in result else 0


def perform_safely(
    job: Mapping[str, Any], progress: Callable[[int, int, str], None]
) -> dict[str, Any]:
    """`perform`, with every exception turned into an error record; its traceback goes to stderr."""
    try:
        return perform(job, progress)
    except QpipeError as error:
        failure: QpipeError = error
    except OSError as error:
        failure = _explain(job, error)
    except MemoryError:
        failure = OutOfMemoryError(
            f"{job['name']}: memory ran out; run fewer nodes at a time (executor.cpus=1), or use "
            "a machine with more memory"
        )
    except Exception as error:  # noqa: BLE001  the process boundary: what is not ours is a crash
        traceback.print_exc()
        failure = WorkerCrashError(f"{job['name']}: unexpected {type(error).__name__}: {error}")
    return {"error": {"type": type(failure).__name__, "message": str(failure)}}


def perform(job: Mapping[str, Any], progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Run a job's stage in this process; the result record. Raises what the stage raises."""
    from qpipe.stages.base import Work

    started, cpu = time.monotonic(), time.process_time()
    module, _, name = job["entry"].partition(":")
    stage = getattr(importlib.import_module(module), name)
    out = Path(job["out"])
    params = stage.Params.model_validate(job["params"])
    facts = stage().run(
        params,
        Work(
            inputs={role: Path(path) for role, path in job["inputs"].items()},
            out=out,
            threads=job["threads"],
            progress=progress,
            where=job["where"],
        ),
    )
    files = scan(out)
    stage.confirm(params, files)
    usage = Usage(time.monotonic() - started, time.process_time() - cpu, peak_rss())
    return {
        "files": [asdict(entry) for entry in files],
        "facts": dict(facts),
        "usage": asdict(usage),
        "tools": {"qpipe": __version__, "python": platform.python_version()},
        "machine": machine(),
    }


def _explain(job: Mapping[str, Any], error: OSError) -> QpipeError:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        traceback.print_exc()
        return WorkerCrashError(f"{job['name']}: {type(error).__name__}: {error}")
    # Make room first, so that this very message can be written.
    for path in Path(job["out"]).iterdir():
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return OutOfSpaceError(
        f"{job['name']}: the disk is full (writing to {job['out']}); free some space, or take old "
        "artifacts away with `qpipe gc --max-size SIZE`; finished work is kept, and the same "
        "command goes on from there"
    )


def _reporter(
    write: Callable[[str], object], flush: Callable[[], object]
) -> Callable[[int, int, str], None]:
    last = 0.0

    def progress(done: int, total: int, unit: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PROGRESS_EVERY or done == total:
            last = now
            write(json.dumps([done, total, unit]) + "\n")
            flush()

    return progress


def _die_with(parent: int) -> None:
    """End this process soon after its parent: an orphan would only hold the claim's lock."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="watch-parent").start()


def peak_rss() -> int:
    """The most memory that this process has had resident, in bytes."""
    # ru_maxrss would begin at the parent's size on Linux; VmHWM is this program's own.
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def machine() -> dict[str, Any]:
    """What a result was made on: system, architecture, processor, cores."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
