"""Reads damaged inputs in a process of its own: ``python -m tests.fuzz.work TARGET SEED FROM TO``.

Prints a JSON document: how many inputs were read and refused, and each that ended otherwise (with
its number, by which it is made again). Memory and CPU time of each input are bounded.

Without arguments it does so for each line of stdin, in a fork: what all import is imported once.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from qpipe.errors import QpipeError
from qpipe.stages.registry import all_stages
from tests.fuzz.readers import TARGETS
from tests.fuzz.targets import Target

SECONDS = 2.0
"""CPU seconds for one input: the longest takes a tenth."""

MEMORY = 1 << 29
"""Bytes that may be had beyond what the process has before the first input."""


class TooLongError(BaseException):
    """An input took more than its time."""


def main(name: str, seed: str, first: int, last: int) -> dict[str, Any]:
    """Read the inputs ``first`` to ``last`` of a target."""
    target = TARGETS[name]
    counts: Counter[str] = Counter()
    failures = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        folder = Path(temporary) / "x"
        folder.mkdir()
        target.make(folder)
        whole = {file: (folder / file).read_bytes() for file in target.files}
        target.read(folder)  # as made, nothing is wrong with it
        _bound()
        for number in range(first, last):
            random = Random(f"{name} {seed} {number}")
            file, data = target.damaged(whole, random)
            ended = read(target, folder, file, data)
            (folder / file).write_bytes(whole[file])
            counts["refused" if ended == "refused" else "read" if ended is None else "bad"] += 1
            if ended not in (None, "refused"):
                failures.append({"number": number, "file": file, "how": ended})
    return {"target": name, "counts": counts, "failures": failures}


COMMON = ("numpy", "qpipe.gguf.quantize", "qpipe.recipe.load", "qpipe.report.render")
"""What most targets import."""


def serve() -> None:
    """Answer each line, ``TARGET SEED FROM TO``, with a line of JSON; an empty one if the fork that
    was to read ended otherwise."""
    for name in COMMON:
        importlib.import_module(name)
    all_stages()
    for line in sys.stdin:
        name, seed, first, last = line.split()
        pid = os.fork()
        if pid == 0:
            try:
                print(json.dumps(main(name, seed, int(first), int(last))), flush=True)
                os._exit(0)
            except BaseException:  # noqa: BLE001  as an interpreter ends
                traceback.print_exc()
            os._exit(1)
        if os.waitpid(pid, 0)[1] != 0:
            print(flush=True)


def read(target: Target, folder: Path, file: str, data: bytes) -> str | None:
    """None, ``refused``, or the last lines of what came out."""
    (folder / file).write_bytes(data)
    _allow(SECONDS)
    try:
        target.read(folder)
    except QpipeError as error:
        return "refused" if len(str(error)) < 20_000 else "a message without end"
    except TooLongError:
        _allow(0)
        return f"took more than {SECONDS} s: " + traceback.format_exc(limit=-6)
    except Exception:  # noqa: BLE001  whatever it is, it is what is looked for
        return traceback.format_exc(limit=-4)
    finally:
        _allow(0)
    return None


def _allow(seconds: float) -> None:
    """Interrupt the reader after so much CPU time, and again should that come to nothing: an
    exception within a finalizer is dropped, and a timer of CPU time once never rang. So wall time
    is bounded too, by far more. 0 ends both."""
    signal.setitimer(signal.ITIMER_PROF, seconds, seconds)
    signal.setitimer(signal.ITIMER_REAL, 30 * seconds, seconds)


def listen() -> None:
    """Have the timers of `_allow` end what takes too long."""
    signal.signal(signal.SIGPROF, _too_long)
    signal.signal(signal.SIGALRM, _too_long)


def _bound() -> None:
    warnings.simplefilter("error")
    listen()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TooLongError


if __name__ == "__main__":
    if sys.argv[1:]:
        json.dump(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])), sys.stdout)
    else:
        serve()
