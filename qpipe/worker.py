"""`python -m qpipe.worker FOLDER…`: read job.json, run the stage, write result.json.

Several folders are jobs of one stage that read an input once for all.

Nothing but the folder is shared with whoever started it: ``job.json`` says what to do,
``progress.jsonl`` grows while it works, and ``result.json`` appears whole at the end, with either
``{"files", "facts", "usage", "tools", "machine"}`` or ``{"error": {"type", "message"}}``.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import importlib
import json
import math
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from qpipe import __version__
from qpipe.core import file_lock
from qpipe.core.digests import Digests
from qpipe.core.env_values import reveal
from qpipe.core.manifest import FileEntry, Usage, scan
from qpipe.errors import (
    OutOfMemoryError,
    OutOfSpaceError,
    QpipeError,
    WorkerCrashError,
    placed,
    reason,
)
from qpipe.machine.filesystem import is_full, remove_tree, sync_all
from qpipe.machine.identity import describe
from qpipe.machine.usage import cpu_seconds, peak_rss

if TYPE_CHECKING:
    from qpipe.stages.base import Result, Stage, Work

JobRecord = Mapping[str, Any]
"""The content of job.json (qpipe/executors/record.py)."""

JOB, PROGRESS, RESULT = "job.json", "progress.jsonl", "result.json"


class Report(Protocol):
    """Takes (done, total, unit), and without a total a note on what goes on."""

    def __call__(self, done: int, total: int, unit: str, note: str = "", /) -> None:
        """Pass it on."""


# The exit code of a worker that has no room even for its result.
NO_ROOM = 73

# Seconds between two lines of progress.
_PROGRESS_EVERY = 0.1


def main(*folders: Path, parent: int | None = None) -> int:
    """Run the jobs in ``folders``; 0 if they succeeded. ``parent`` is the process without which
    this one ends, the one that the jobs name if none is given."""
    jobs = [json.loads((folder / JOB).read_bytes()) for folder in folders]
    _die_with(jobs[0]["parent"] if parent is None else parent)
    results = perform_all(jobs, [_reporter(folder / PROGRESS) for folder in folders])
    try:
        for folder, result in zip(folders, results, strict=True):
            file_lock.write_atomic(folder / RESULT, json.dumps(result).encode(), sync=False)
    except OSError as error:
        if not is_full(error):
            raise
        return NO_ROOM
    return 1 if any("error" in result for result in results) else 0


def leave_the_current_folder() -> None:
    """Import nothing from the user's current folder, which ``python -m`` puts in front."""
    if sys.path and Path(sys.path[0]) == Path.cwd():
        del sys.path[0]


def perform_all(jobs: Sequence[JobRecord], reporters: Sequence[Report]) -> list[dict[str, Any]]:
    """The record of each job, an error record for one that fails.

    Several are made in one pass. If that fails, each is made by itself: so it shows which of them
    was to blame, and the others get done.
    """
    if len(jobs) > 1:
        try:
            return perform(jobs, reporters)
        except Exception:  # noqa: BLE001  raised again by the one it belongs to
            traceback.print_exc()
            for job in jobs:
                _empty(Path(job["out"]))
    return [_perform_safely(*one) for one in zip(jobs, reporters, strict=True)]


def _perform_safely(job: JobRecord, report: Report) -> dict[str, Any]:
    """`perform`, with every exception turned into an error record; its traceback goes to stderr."""
    try:
        (record,) = perform([job], [report])
        return record
    except QpipeError as error:
        failure: QpipeError = error
    except OSError as error:
        failure = _explain(job, error)
    except MemoryError:
        failure = OutOfMemoryError(
            f"{job['name']}: memory ran out; run fewer nodes at a time (executor.cpus=1), or use "
            "a machine with more memory"
        )
    except SystemExit as error:
        traceback.print_exc()
        failure = WorkerCrashError(f"{job['name']}: the stage called sys.exit({error.code!r})")
    except Exception as error:  # noqa: BLE001  the process boundary: what is not ours is a crash
        traceback.print_exc()
        failure = WorkerCrashError(
            f"{job['name']}: unexpected {type(error).__name__}: {reason(error)}"
        )
    message = placed(str(failure), _places(job))
    return {"error": {"type": type(failure).__name__, "message": message}}


def _places(job: JobRecord) -> dict[str, str]:
    """The user's name for the folder of each input that is a source, by where it lies here."""
    shown = {role: origin.get("shown") for role, origin in job["origins"].items()}
    return {job["inputs"][role]: name for role, name in shown.items() if name is not None}


def perform(jobs: Sequence[JobRecord], reporters: Sequence[Report]) -> list[dict[str, Any]]:
    """Run the stage of the jobs in this process; their records. Raises what the stage raises."""
    started, cpu = time.monotonic(), cpu_seconds()
    module, _, name = jobs[0]["entry"].partition(":")
    stage = getattr(importlib.import_module(module), name)
    # As JSON, so that strict models take a list for a tuple and a string for an enum.
    params = [stage.Params.model_validate_json(json.dumps(reveal(job["params"]))) for job in jobs]
    works = [_work(*one) for one in zip(jobs, reporters, strict=True)]
    facts = stage().run_all(list(zip(params, works, strict=True)))
    files = [_finished(stage, *one) for one in zip(params, works, strict=True)]
    seconds, cpu = ((time.monotonic() - started) / len(jobs), (cpu_seconds() - cpu) / len(jobs))
    usage = Usage(seconds, cpu, peak_rss(), len(jobs))
    return [
        {
            "files": [asdict(entry) for entry in entries],
            "facts": _plain(job["name"], fact),
            "usage": asdict(usage),
            "tools": {"qpipe": __version__, "python": platform.python_version()},
            "machine": describe(),
        }
        for job, entries, fact in zip(jobs, files, facts, strict=True)
    ]


def _work(job: JobRecord, report: Report) -> Work:
    from qpipe.stages.base import Work

    return Work(
        inputs={role: Path(path) for role, path in job["inputs"].items()},
        out=Path(job["out"]),
        partial=Path(job["partial"]),
        digests=None if job["hashes"] is None else Digests(Path(job["hashes"])),
        threads=job["threads"],
        progress=report,
        note=lambda words: report(0, 0, "", words),
        where=job["where"],
        key=job["key"],
        origins=job["origins"],
    )


def _finished(stage: type[Stage], params: Any, work: Work) -> Sequence[FileEntry]:
    """The files that a stage made, checked and on their way to the disk."""
    files = scan(work.out, hashed=work.hashed, threads=work.threads)
    stage.confirm(params, files)
    _make_durable(work.out, files)
    return files


def _plain(name: str, result: Result) -> dict[str, Any]:
    """Facts as they will be read from the manifest, whichever executor ran the stage."""
    from qpipe.results.facts import to_facts  # plans and cached runs know nothing of results

    try:
        plain: dict[str, Any] = json.loads(json.dumps(to_facts(result), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise WorkerCrashError(
            f"{name}: what the stage found out cannot be kept in a manifest ({error}): {result!r}"
        ) from None
    return plain


def _make_durable(out: Path, files: Sequence[FileEntry]) -> None:
    """Here, beside other workers, and not where the runner would wait for gigabytes."""
    errors = sync_all([out / entry.path for entry in files if entry.mtime_ns is None])
    for error in errors.values():
        raise error


def _empty(folder: Path) -> None:
    for path in list(folder.iterdir()):
        remove_tree(path)


def _explain(job: JobRecord, error: OSError) -> QpipeError:
    if error.errno == errno.ENOMEM:
        return OutOfMemoryError(f"{job['name']}: memory ran out ({error})")
    if not is_full(error):
        traceback.print_exc()
        return WorkerCrashError(f"{job['name']}: {type(error).__name__}: {error}")
    # Make room first, so that this very message can be written.
    with contextlib.suppress(OSError):
        _empty(Path(job["out"]))
    return OutOfSpaceError(
        f"{job['name']}: the disk is full (writing {error.filename or job['out']}); "
        "free some space, or take old artifacts away with `qpipe gc --max-size SIZE`; "
        "finished work is kept, and the same command goes on from there"
    )


def _reporter(path: Path) -> Report:
    fd = -1
    last = 0.0

    def progress(done: int, total: int, unit: str, note: str = "", /) -> None:
        nonlocal fd, last
        now = time.monotonic()
        if last < math.inf and (now - last >= _PROGRESS_EVERY or done == total or note):
            last = now
            try:
                if fd < 0:
                    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
                os.write(fd, json.dumps([done, total, unit, note]).encode() + b"\n")
            except OSError:
                # A full disk below the run folder: the work matters more, and half a line must
                # not get a second half.
                last = math.inf

    return progress


def _die_with(parent: int) -> None:
    """End this process soon after its parent: an orphan would only hold the claim's lock."""

    def watch() -> None:
        # Linux's PR_SET_PDEATHSIG goes off when the parent's thread ends, not only when the parent
        # does (prctl(2)), and macOS has nothing of the kind: so it is asked again and again.
        while os.getppid() == parent:
            time.sleep(0.2)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)  # what the stage started goes too
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="watch-parent").start()


def leave(code: int) -> NoReturn:
    """End now that all is written: taking torch and the models apart, object by object, is a second
    that nobody needs. What asked to be called at the end (temporary folders, …) is."""
    # Private in Python (3.10 to 3.13): os._exit calls none of them.
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # a full disk under the log
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    leave_the_current_folder()
    leave(main(*map(Path, sys.argv[1:])))
