"""Programs that are not ours, run to their end: the one place where return codes are checked.

What a program prints goes on to this process's stderr (a worker's log) as it comes; its last lines
are kept for the message of its failure.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import IO

from qpipe.errors import OutOfSpaceError, StageError, WorkerCrashError
from qpipe.machine.filesystem import FULL_IN_WORDS

_MOST_LINES = 50
# Seconds that a program which is to stop may take.
_GRACE = 5.0


class ProgramError(StageError):
    """A program ended with a code other than 0; ``last`` is the last line that it printed."""

    def __init__(self, message: str, *, last: str = "") -> None:
        super().__init__(message)
        self.last = last


def run(
    command: Sequence[str | Path | int],
    *,
    name: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    on_start: Callable[[int], None] | None = None,
    quiet: bool = False,
) -> list[str]:
    """Run ``command``; the last lines that it printed, on stdout and stderr together.

    ``name`` stands for it in messages, ``env`` is its whole environment (None: ours), ``on_line``
    is told each line, ``on_start`` the process's id; ``quiet`` keeps lines from stderr. Raises
    `WorkerCrashError` for one that a signal ended, `OutOfSpaceError` where it says that the disk is
    full, `ProgramError` for any other failure.
    """
    lines: deque[str] = deque(maxlen=_MOST_LINES)
    with subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        cwd=cwd,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        if on_start:
            on_start(process.pid)
        for line in process.stdout:
            if not quiet:
                sys.stderr.write(line)
            lines.append(line)
            if on_line:
                on_line(line)
    _check(name, process.returncode, list(lines))
    return list(lines)


@contextmanager
def running(
    command: Sequence[str | Path | int],
    *,
    name: str,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
    inherit: Sequence[IO[bytes]] = (),
) -> Iterator[None]:
    """Run ``command`` beside the block, which talks to it through other ends of the pipes
    ``inherit``; these go to it, by their file descriptors, and are closed here.

    What it prints is dealt with as by `run`. A block that meets the end of a pipe too early raises
    EOFError; then, as at the end of the block, the program's own end is awaited, and what `run`
    raises of it is raised. After any other exception it is terminated.
    """
    lines: deque[str] = deque(maxlen=_MOST_LINES)
    process = subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        text=True,
        errors="replace",
        pass_fds=[pipe.fileno() for pipe in inherit],
    )
    for pipe in inherit:
        pipe.close()
    reader = threading.Thread(target=_drain, args=(process.stdout, lines, on_line), daemon=True)
    reader.start()
    early = False
    try:
        yield
    except EOFError:
        early = True
    except BaseException:
        process.terminate()
        raise
    finally:
        process.wait()
        reader.join()
    _check(name, process.returncode, list(lines))
    if early:
        raise ProgramError(f"{name} ended before it had said all")


@contextmanager
def serving(
    command: Sequence[str | Path | int],
    *,
    name: str,
    env: Mapping[str, str],
    ready: Callable[[str], str | None],
) -> Iterator[str]:
    """Run ``command`` beside the block, and end it with the block.

    The block is given, and begins with, what ``ready`` first makes of a line that the program
    prints, such as its address. What it prints is dealt with as by `run`. A block that loses the
    program raises EOFError; then, and where it ends before it is ready, what `run` raises of it is
    raised, or ProgramError if it ended well.
    """
    lines: deque[str] = deque(maxlen=_MOST_LINES)
    answers: SimpleQueue[str | None] = SimpleQueue()

    def look(line: str) -> None:
        if (answer := ready(line)) is not None:
            answers.put(answer)

    def read() -> None:
        _drain(process.stdout, lines, look)
        answers.put(None)

    process = subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        text=True,
        errors="replace",
    )
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        answer = answers.get()
        if answer is None:
            raise EOFError
        yield answer
    except EOFError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            _check(name, process.wait(_GRACE), list(lines))
        raise ProgramError(f"{name} ended before its work did: {_last(lines)}") from None
    finally:
        _end(process)
        reader.join()


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _drain(
    printed: IO[str] | None, lines: deque[str], on_line: Callable[[str], None] | None
) -> None:
    assert printed is not None
    with printed:
        for line in printed:
            sys.stderr.write(line)
            lines.append(line)
            if on_line:
                on_line(line)


def _check(name: str, code: int, lines: Sequence[str]) -> None:
    if code < 0:
        raise WorkerCrashError(
            f"{name} was ended by {signal_name(-code)}; if memory ran out, use a machine "
            "with more, or run fewer nodes at a time (executor.cpus=1)"
        )
    if code and any(FULL_IN_WORDS in line for line in lines):
        raise OutOfSpaceError(
            f"the disk became full while {name} wrote; free some space, or take old artifacts "
            "away with `qpipe gc --max-size SIZE`, then run again"
        )
    if code:
        last = _last(lines)
        raise ProgramError(f"{name} ended with code {code}: {last}", last=last)


def _last(lines: Iterable[str]) -> str:
    said = [line.strip() for line in lines if line.strip()]
    return said[-1][:400] if said else "it printed nothing"


def signal_name(number: int) -> str:
    """``SIGSEGV`` for 11; real-time signals have only numbers."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def oom_kills() -> int:
    """The number of processes that the kernel has killed for memory since boot (Linux; else 0)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
