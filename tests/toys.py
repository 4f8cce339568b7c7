"""Toy stages, each of which misbehaves in one way; `Write` also counts its calls on disk.

What a toy is told about this machine (files to write calls to, pids to leave) comes in ``where``,
which no key sees.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from qpipe import errors
from qpipe.core.key import Json
from qpipe.stages.base import Params, Stage, Work


def note(path: Json | Path, line: str) -> None:
    """Append a line, whole, to a file that several processes write to."""
    fd = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.write(fd, line.encode() + b"\n")
    os.close(fd)


class WriteParams(Params):
    text: str = ""
    numbers: tuple[int, ...] = ()


class Write(Stage):
    """Writes its text and its inputs' texts; notes the call, if ``where`` says in which file."""

    kind = "write"
    version = 1
    Params = WriteParams

    def run(self, params: WriteParams, work: Work) -> Mapping[str, Json]:
        if "calls" in work.where:
            note(work.where["calls"], params.text)
        parts = [(work.inputs[role] / "out.txt").read_text() for role in sorted(work.inputs)]
        text = "|".join([params.text, *parts])
        (work.out / "out.txt").write_text(text)
        print(f"wrote {text!r}")
        work.progress(len(text), len(text), "bytes")
        return {"length": len(text), "numbers": params.numbers, "threads": work.threads}


class WriteOnce(Write):
    """Notes all nodes of a pass in one line; one whose text is ``bad`` spoils it."""

    kind = "write_once"
    reads_once = "model"

    def run_all(self, tasks: Sequence[tuple[WriteParams, Work]]) -> Sequence[Mapping[str, Json]]:
        note(tasks[0][1].where["passes"], "+".join(params.text for params, _ in tasks))
        facts = [self.run(params, work) for params, work in tasks]
        if any(params.text == "bad" for params, _ in tasks):
            raise errors.CheckpointError("a bad text")
        if any(params.text == "deadly" for params, _ in tasks):
            os.kill(os.getpid(), signal.SIGKILL)
        return facts


class SleepParams(Params):
    seconds: float
    text: str = ""


class Sleep(Stage):
    """Notes when it begins and ends, and sleeps in between."""

    kind = "sleep"
    version = 1
    Params = SleepParams

    def run(self, params: SleepParams, work: Work) -> Mapping[str, Json]:
        begun = time.time()
        if "pid" in work.where:
            Path(str(work.where["pid"])).write_text(str(os.getpid()))
        time.sleep(params.seconds)
        if "intervals" in work.where:
            gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            note(work.where["intervals"], json.dumps([params.text, begun, time.time(), gpus]))
        (work.out / "out.txt").write_text(params.text)
        return {}


class CountParams(Params):
    to: int


class Count(Stage):
    """Counts up to ``to``, one number an attempt, and fails until it is there."""

    kind = "count"
    version = 1
    Params = CountParams

    def run(self, params: CountParams, work: Work) -> Mapping[str, Json]:
        assert work.partial is not None
        work.partial.mkdir(parents=True, exist_ok=True)
        note(work.partial / "numbers.txt", "one")
        numbers = (work.partial / "numbers.txt").read_text().split()
        if len(numbers) < params.to:
            raise errors.StageError(f"only {len(numbers)} yet")
        (work.out / "out.txt").write_text(" ".join(numbers))
        return {}


class EndParams(Params):
    how: str
    value: int = 0


class End(Stage):
    """Ends as ``how`` says, after a line of output."""

    kind = "end"
    version = 1
    Params = EndParams

    def run(self, params: EndParams, work: Work) -> Mapping[str, Json]:
        (work.out / "half.txt").write_text("half")
        print("these are the last words", flush=True)
        getattr(self, params.how)(params.value)
        return {}

    def signal(self, number: int) -> None:
        os.kill(os.getpid(), number)
        time.sleep(60)

    def hard_exit(self, code: int) -> None:
        os._exit(code)

    def sys_exit(self, code: int) -> None:
        sys.exit(code)

    def memory_error(self, _: int) -> None:
        raise MemoryError

    def os_error(self, number: int) -> None:
        raise OSError(number, os.strerror(number), "/somewhere/model.gguf")

    def value_error(self, _: int) -> None:
        raise ValueError("nobody expected this")

    def checkpoint_error(self, _: int) -> None:
        raise errors.CheckpointError("model.safetensors: the header says 10 bytes, it has 9")


class Facts(Stage):
    """Finds out something that no manifest can hold."""

    kind = "facts"
    version = 1
    Params = EndParams

    def run(self, params: EndParams, work: Work) -> Mapping[str, Json]:
        return {"ppl": float(params.how)}


class AllocateParams(Params):
    megabytes: int
    seconds: float = 30.0
    child: bool = False


class Allocate(Stage):
    """Touches memory, 4 MB at a time, itself or in a child process; then holds it for a while."""

    kind = "allocate"
    version = 1
    Params = AllocateParams

    def run(self, params: AllocateParams, work: Work) -> Mapping[str, Json]:
        if params.child:
            code = (
                f"import time; held = b'x' * {params.megabytes << 20}; time.sleep({params.seconds})"
            )
            subprocess.run([sys.executable, "-c", code], check=True)
        held = []
        for _ in range(0, 0 if params.child else params.megabytes, 4):
            held.append(b"x" * (4 << 20))
            time.sleep(0.01)
        time.sleep(params.seconds)
        (work.out / "out.txt").write_text(str(len(held)))
        return {}


class MapFile(Stage):
    """Reads every page of a mapped file, whose pages are no memory of its own."""

    kind = "map"
    version = 1
    Params = AllocateParams

    def run(self, params: AllocateParams, work: Work) -> Mapping[str, Json]:
        import mmap

        path = work.out / "big.bin"
        with path.open("wb") as file:
            for _ in range(params.megabytes):
                file.write(b"x" * (1 << 20))
        with path.open("rb") as big, mmap.mmap(big.fileno(), 0, access=mmap.ACCESS_READ) as pages:
            total = sum(pages[at] for at in range(0, len(pages), 4096))
            time.sleep(params.seconds)
        return {"total": total}


class Fill(Stage):
    """Writes megabytes slowly, as a big model would come."""

    kind = "fill"
    version = 1
    Params = AllocateParams

    def run(self, params: AllocateParams, work: Work) -> Mapping[str, Json]:
        (work.out / "parts").mkdir()
        for index in range(params.megabytes):
            with (work.out / "parts" / f"{index:04}.bin").open("wb") as file:
                file.write(b"x" * (1 << 20))
            time.sleep(params.seconds / params.megabytes)
        return {}


class Look(Stage):
    """Finds out what a worker is given: descriptors, stdin, path, threads."""

    kind = "look"
    version = 1
    Params = WriteParams

    def run(self, params: WriteParams, work: Work) -> Mapping[str, Json]:
        folder = Path("/proc/self/fd")
        targets = [os.readlink(f) for f in folder.iterdir() if f.is_symlink()]  # noqa: PTH115
        (work.out / "out.txt").write_text("looked")
        return {
            "locks": [target for target in targets if target.endswith(".lock")],
            "stdin": sys.stdin.read(),
            "cwd_on_path": str(Path.cwd()) in sys.path,
            "omp": os.environ["OMP_NUM_THREADS"],
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        }


class Family(Stage):
    """Starts a process of its own that would live for long, then sleeps or ends."""

    kind = "family"
    version = 1
    Params = SleepParams

    def run(self, params: SleepParams, work: Work) -> Mapping[str, Json]:
        code = "import time; time.sleep(120)"
        child = subprocess.Popen([sys.executable, "-c", code])
        Path(str(work.where["pid"])).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(params.seconds)
        (work.out / "out.txt").write_text("")
        child.returncode = 0  # leave it behind without a warning
        return {}


class Stubborn(Stage):
    """Ignores SIGTERM."""

    kind = "stubborn"
    version = 1
    Params = SleepParams

    def run(self, params: SleepParams, work: Work) -> Mapping[str, Json]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path(str(work.where["pid"])).write_text(str(os.getpid()))
        time.sleep(params.seconds)
        return {}


class Steps(Stage):
    """Reports progress in steps."""

    kind = "steps"
    version = 1
    Params = SleepParams

    def run(self, params: SleepParams, work: Work) -> Mapping[str, Json]:
        for step in range(1, 6):
            work.progress(step, 5, "tokens")
            time.sleep(params.seconds / 5)
        (work.out / "out.txt").write_text("")
        return {}
