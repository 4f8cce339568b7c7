"""How a worker's end is told: crash by signal, exit, timeout, out of memory, full disk."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qpipe.core.events import NodeStarted
from qpipe.core.executor import WorkOutput
from qpipe.core.graph import Resources
from qpipe.core.layout import RunPaths
from qpipe.core.store import ArtifactStore
from qpipe.errors import (
    EngineMissingError,
    OutOfMemoryError,
    OutOfSpaceError,
    StageError,
    StageTimeoutError,
    WorkerCrashError,
)
from qpipe.executors.local import Capacity, LocalExecutor
from qpipe.executors.processes import log_end
from tests.cgroups import memory_group
from tests.contract.running import Bench, toy
from tests.executors.conftest import MakeBench

MB = 1 << 20


@pytest.mark.parametrize(
    ("number", "name"),
    [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGABRT, "SIGABRT"), (signal.SIGKILL, "SIGKILL"),
     (40, "signal 40")],
)  # fmt: skip
def test_a_crash_by_signal(local: MakeBench, number: int, name: str) -> None:
    bench = local()
    outcome = bench.outcome(toy("End", {"how": "signal", "value": int(number)}))
    assert type(outcome) is WorkerCrashError
    assert f"toy: the worker was killed by {name}; the end of its log {bench.log}" in str(outcome)
    assert "    these are the last words" in str(outcome)


def test_a_pass_that_is_killed_is_made_node_by_node(local: MakeBench, tmp_path: Path) -> None:
    passes = tmp_path / "passes.txt"
    result = local().share(passes, "a", "deadly", "c")
    ends = {o.node.name: o.status for o in result.outcomes.values()}
    assert ends == {"toy": "ran", "a": "ran", "deadly": "failed", "c": "ran"}
    assert sorted(passes.read_text().splitlines()) == ["a", "a+deadly+c", "c", "deadly"]


def test_each_of_a_pass_has_its_log_by_name(local: MakeBench, tmp_path: Path) -> None:
    bench = local()
    bench.share(tmp_path / "passes.txt", "a", "deadly", "c")
    starts = [event for event in bench.events if isinstance(event, NodeStarted)]
    assert len(starts) == 7  # the model, a pass of three, and each of these by itself
    for event in starts:
        assert event.log is not None
        assert Path(event.log).name.startswith(f"{event.name}-{event.key[:8]}")
        assert Path(event.log).is_file()
    logs = {Path(event.log or "").stat().st_ino for event in starts[4:]}
    assert len(logs) == 3


def test_an_exit_without_a_result(local: MakeBench) -> None:
    outcome = local().outcome(toy("End", {"how": "hard_exit", "value": 3}))
    assert type(outcome) is WorkerCrashError
    assert "ended with exit code 3 and left no result" in str(outcome)
    assert "these are the last words" in str(outcome)


def test_an_unexpected_exception_shows_the_end_of_its_traceback(local: MakeBench) -> None:
    outcome = local().outcome(toy("End", {"how": "value_error"}))
    assert type(outcome) is WorkerCrashError
    assert 'raise ValueError("nobody expected this")' in str(outcome)


def test_a_worker_that_ran_too_long(local: MakeBench) -> None:
    begun = time.monotonic()
    outcome = local().outcome(toy("Sleep", {"seconds": 60.0}, timeout=0.5))
    assert type(outcome) is StageTimeoutError
    assert "toy: stopped after 0.5 s, its time limit; raise run.timeout" in str(outcome)
    assert time.monotonic() - begun < 15


def test_an_interpreter_that_is_not_there(local: MakeBench) -> None:
    bench = local()
    with pytest.raises(EngineMissingError, match=r"toy: its interpreter /no/python cannot be star"):
        bench.submit(toy("Write", {"text": "x"}, python="/no/python"))
    assert bench.executor.has_room(Resources(cpus=2))


def test_a_run_folder_that_cannot_be_made(local: MakeBench, tmp_path: Path) -> None:
    bench = local()
    (tmp_path / "run").write_text("a file")
    with pytest.raises(StageError, match="toy: its worker cannot be started"):
        bench.submit(toy("Write", {"text": "x"}))


# -- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("child", [False, True])
def test_a_worker_beyond_the_memory_it_declared(local: MakeBench, child: bool) -> None:
    bench = local(enforce_memory=True)
    params = {"megabytes": 400, "child": child}
    outcome = bench.outcome(toy("Allocate", params, resources=Resources(1, 150 * MB)))
    assert type(outcome) is OutOfMemoryError
    assert "toy: stopped, it used" in str(outcome)
    assert "may use 157 MB; raise the stage's resources.memory" in str(outcome)


def test_a_worker_within_its_memory_and_one_that_is_not_watched(local: MakeBench) -> None:
    few = {"megabytes": 40, "seconds": 0.1}
    limited = Resources(1, 300 * MB)
    watched = local(enforce_memory=True).outcome(toy("Allocate", few, resources=limited))
    assert isinstance(watched, WorkOutput)
    more = {"megabytes": 120, "seconds": 0.1}
    not_watched = local().outcome(toy("Allocate", more, resources=Resources(1, 50 * MB)))
    assert isinstance(not_watched, WorkOutput)


def test_mapped_files_are_not_memory_in_use(local: MakeBench) -> None:
    """A model that is mapped, not read, costs nothing that the kernel could not take back."""
    bench = local(enforce_memory=True)
    params = {"megabytes": 300, "seconds": 0.3}
    outcome = bench.outcome(toy("MapFile", params, resources=Resources(1, 200 * MB)))
    assert isinstance(outcome, WorkOutput), outcome


def test_the_kernels_out_of_memory_killer(local: MakeBench, tmp_path: Path) -> None:
    with memory_group(200 * MB) as put:
        bench = local()
        bench.submit(toy("Allocate", {"megabytes": 2000}))
        executor = bench.executor
        assert isinstance(executor, LocalExecutor)
        pid = executor.workers[0].process.pid
        assert pid is not None
        put(pid)
        outcome = bench.wait()
    assert type(outcome) is OutOfMemoryError
    assert "toy: the kernel killed it, memory ran out" in str(outcome)


# -- disks ----------------------------------------------------------------------------------------


def test_a_worker_that_fills_the_disk(small_disk: Callable[[str], Path], tmp_path: Path) -> None:
    disk = small_disk("8m")
    executor = LocalExecutor(RunPaths(disk / "run"), Capacity(1, None))
    bench = Bench(executor, ArtifactStore(disk / "store"))
    job = bench.submit(toy("Fill", {"megabytes": 20, "seconds": 0.1}))
    outcome = bench.wait()
    assert type(outcome) is OutOfSpaceError
    assert "toy: the disk is full (writing" in str(outcome)
    assert "qpipe gc --max-size" in str(outcome)
    assert list(job.out.iterdir()) == []
    assert isinstance(bench.outcome(toy("Write", {"text": "fits"})), WorkOutput)
    bench.close()


def test_a_run_folder_on_a_full_disk(small_disk: Callable[[str], Path], tmp_path: Path) -> None:
    """The work is done on another disk, but there is no room to say so."""
    disk = small_disk("1m")
    executor = LocalExecutor(RunPaths(disk / "run"), Capacity(1, None))
    bench = Bench(executor, ArtifactStore(tmp_path / "store"))
    started = tmp_path / "pid"
    bench.submit(toy("Sleep", {"seconds": 1.5}, where={"pid": str(started)}))
    bench.until(started.exists)
    with (disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 512)
    outcome = bench.wait()
    assert type(outcome) is OutOfSpaceError
    assert f"the disk of the run folder {disk}/run/jobs/toy-" in str(outcome)
    with pytest.raises(OutOfSpaceError, match="toy: the disk of the run folder is full"):
        bench.submit(toy("Write", {"text": "more"}))
    bench.close()


# -- logs -----------------------------------------------------------------------------------------


def test_a_log_for_each_node_and_only_its_end_is_shown(local: MakeBench) -> None:
    bench = local()
    assert isinstance(
        bench.outcome(toy("Write", {"text": "one"}, name="quantize[Q4_K]")), WorkOutput
    )
    assert bench.log is not None
    assert Path(bench.log).name.startswith("quantize_Q4_K-")
    assert Path(bench.log).read_text() == "wrote 'one'\n"
    log = Path(bench.log)
    log.write_text("".join(f"line {index}\n" for index in range(100_000)))
    end = log_end(log)
    assert end.splitlines()[1:] == [f"    line {index}" for index in range(99_988, 100_000)]
    log.write_text("")
    assert log_end(log) == f" (its log {log} is empty)"


def test_names_of_any_length_and_kind(local: MakeBench) -> None:
    bench = local()
    for name in ("ä/../" * 100, "../../x", "a" * 1000):
        outcome = bench.outcome(toy("Write", {"text": name}, name=name))
        assert isinstance(outcome, WorkOutput)
        assert bench.log is not None
        assert Path(bench.log).resolve().parent.name == "logs"
