"""The local executor: booking, what a worker is given, progress, stopping."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from qpipe.core import runner
from qpipe.core.executor import WorkOutput
from qpipe.core.graph import Graph, Resources
from qpipe.core.key import Json
from qpipe.errors import StageTimeoutError
from qpipe.executors import local as module
from qpipe.executors.local import LocalExecutor
from qpipe.executors.processes import signal_group
from qpipe.worker import PROGRESS
from tests.contract.running import toy
from tests.core.beside import until
from tests.executors.conftest import MakeBench

GB = 10**9


def alive(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def pids_in(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()] if path.exists() else []


# -- booking --------------------------------------------------------------------------------------


def test_needs_that_can_never_be_met(local: MakeBench) -> None:
    executor = local(memory=4 * GB, gpus=["0"]).executor
    assert executor.check(Resources(cpus=64, memory=4 * GB, gpus=1)) is None
    assert "needs 2 GPU(s), and this machine offers 1" in str(executor.check(Resources(gpus=2)))
    assert "needs 5.0 GB of memory, and 4.0 GB" in str(executor.check(Resources(memory=5 * GB)))
    assert local().executor.check(Resources(memory=10**15)) is None


def test_nothing_is_overbooked(local: MakeBench, tmp_path: Path) -> None:
    """Many jobs of all sizes through the runner; what overlapped is added up afterwards."""
    bench = local(cpus=4, memory=4 * GB, gpus=["0", "1"])
    intervals = tmp_path / "intervals"
    needs = [Resources(c, m * GB, g) for c, m, g in
             [(1, 1, 0), (2, 1, 1), (4, 1, 0), (1, 3, 0), (1, 0, 2), (9, 0, 0),
              (1, 1, 1), (1, 1, 1), (0, 0, 0), (1, 1, 0), (2, 2, 0), (1, 0, 1)]]  # fmt: skip
    nodes = [
        toy("Sleep", {"seconds": 0.15, "text": str(index)}, name=f"n{index}",
            resources=need, where={"intervals": str(intervals)})
        for index, need in enumerate(needs)
    ]  # fmt: skip
    result = runner.run(
        Graph(nodes), store=bench.store, executor=bench.executor, emit=lambda _: None
    )
    assert result.counts == {"ran": len(nodes)}
    rows = [json.loads(line) for line in intervals.read_text().splitlines()]
    together = 0
    for _, instant, _, _ in rows:
        now = [(needs[int(t)], gpus) for t, begun, ended, gpus in rows if begun <= instant < ended]
        assert sum(min(n.cpus, 4) for n, _ in now) <= 4
        assert sum(n.memory for n, _ in now) <= 4 * GB
        taken = [name for _, gpus in now for name in gpus.split(",") if name]
        assert len(taken) == len(set(taken)) == sum(n.gpus for n, _ in now) <= 2
        together = max(together, len(now))
    assert together > 1


def test_gpus_are_handed_out_by_name(local: MakeBench) -> None:
    bench = local(gpus=["4", "GPU-7", "6"])
    outcome = bench.outcome(toy("Look", {"text": "a"}, resources=Resources(1, 0, 2)))
    assert isinstance(outcome, WorkOutput)
    assert outcome.facts["gpus"] == "4,GPU-7"
    outcome = bench.outcome(toy("Look", {"text": "b"}, resources=Resources(1, 0, 0)))
    assert isinstance(outcome, WorkOutput)
    assert outcome.facts["gpus"] == ""


def test_jobs_that_book_nothing_are_still_limited(local: MakeBench) -> None:
    bench = local(cpus=1)
    free = Resources(cpus=0)
    count = 0
    while bench.executor.has_room(free):
        bench.submit(toy("Sleep", {"seconds": 30.0, "text": str(count)}, resources=free))
        count += 1
    assert count == 8


# -- what a worker is given -----------------------------------------------------------------------


def test_a_worker_is_given_its_own_lock_alone_and_no_stdin(
    local: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pydantic.py").write_text("raise ImportError('the folder of the user')")
    bench = local(cpus=2)
    bench.store.lookup("ab" * 32)
    first = bench.submit(toy("Look", {"text": "1"}, resources=Resources(2)))
    second = bench.submit(toy("Look", {"text": "2"}))
    for _ in range(2):
        outcome = bench.wait()
        assert isinstance(outcome, WorkOutput), outcome
        key = bench.done[-1].item.key
        assert key in (first.key, second.key)
        assert outcome.facts["locks"] == [str(bench.store.paths.lock(key))]
        assert outcome.facts["stdin"] == ""
        assert outcome.facts["cwd_on_path"] is False
        assert outcome.facts["gpus"] is None
    assert {str(done.outcome.facts["omp"]) for done in bench.done
            if isinstance(done.outcome, WorkOutput)} == {"1", "2"}  # fmt: skip


# -- progress -------------------------------------------------------------------------------------


def test_progress_arrives_while_the_work_goes_on(local: MakeBench) -> None:
    bench = local()
    assert isinstance(bench.outcome(toy("Steps", {"seconds": 1.0})), WorkOutput)
    seen = [event.done for event in bench.progress]
    assert len(seen) >= 3
    assert seen == sorted(seen)
    assert seen[-1] == 5
    assert bench.progress[0].unit == "tokens"


def test_half_a_line_is_read_once_it_is_whole(local: MakeBench) -> None:
    bench = local()
    job = bench.submit(toy("Sleep", {"seconds": 30.0}))
    executor = bench.executor
    assert isinstance(executor, LocalExecutor)
    path = executor.workers[0].tasks[0].folder / PROGRESS
    with path.open("ab", buffering=0) as file:
        file.write(b'[1, 9, "bytes"]\n[2, 9')
        (event,) = executor.wait(1.0)
        assert getattr(event, "done", None) == 1
        assert executor.wait(0.1) == []
        file.write(b', "bytes"]\n[3, 9, "bytes"]\n[4')
        (event,) = executor.wait(1.0)
        assert getattr(event, "done", None) == 3
        assert event.item is job


# -- stopping -------------------------------------------------------------------------------------


def test_what_a_worker_started_is_stopped_with_it(local: MakeBench, tmp_path: Path) -> None:
    path = tmp_path / "pids"
    bench = local()
    outcome = bench.outcome(toy("Family", {"seconds": 60.0}, where={"pid": str(path)}, timeout=3.0))
    assert isinstance(outcome, StageTimeoutError)
    until(lambda: not any(alive(pid) for pid in pids_in(path)))
    path.unlink()
    outcome = bench.outcome(toy("Family", {"seconds": 0.0}, where={"pid": str(path)}))
    assert isinstance(outcome, WorkOutput)
    assert len(pids_in(path)) == 2
    until(lambda: not any(alive(pid) for pid in pids_in(path)))


def test_an_orphan_takes_what_it_started_along(local: MakeBench, tmp_path: Path) -> None:
    """`job.json` names a parent that is gone: the worker ends, and its child does."""
    path = tmp_path / "pids"
    bench = local()
    bench.submit(toy("Family", {"seconds": 60.0}, where={"pid": str(path)}))
    until(lambda: len(pids_in(path)) == 2)
    executor = bench.executor
    assert isinstance(executor, LocalExecutor)
    folder = executor.workers[0].tasks[0].folder
    record = json.loads((folder / "job.json").read_text())
    executor.cancel()
    path.unlink()
    (folder / "job.json").write_text(json.dumps({**record, "parent": 1}))
    process = subprocess.Popen(
        [sys.executable, "-m", "qpipe.worker", str(folder)], start_new_session=True
    )
    assert process.wait(20) == -signal.SIGKILL
    until(lambda: not any(alive(pid) for pid in pids_in(path)))


def test_cancel_asks_first(local: MakeBench, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    bench = local()
    bench.submit(toy("Sleep", {"seconds": 60.0}, where={"pid": str(path)}))
    bench.until(lambda: pids_in(path))
    begun = time.monotonic()
    bench.executor.cancel()
    assert time.monotonic() - begun < module._GRACE
    assert not alive(pids_in(path)[0])


def test_cancel_makes_a_worker_that_does_not_listen_stop(
    local: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GRACE", 0.4)
    paths = [tmp_path / "pid1", tmp_path / "pid2"]
    bench = local()
    for path in paths:
        params: Mapping[str, Json] = {"seconds": 60.0, "text": path.name}
        bench.submit(toy("Stubborn", params, name=path.name, where={"pid": str(path)}))
    bench.until(lambda: all(pids_in(path) for path in paths))
    begun = time.monotonic()
    bench.executor.cancel()
    assert 0.4 <= time.monotonic() - begun < 5
    assert not any(alive(pids_in(path)[0]) for path in paths)


def test_a_second_ctrl_c_ends_the_grace(
    local: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pid"
    bench = local()
    bench.submit(toy("Stubborn", {"seconds": 60.0}, where={"pid": str(path)}))
    bench.until(lambda: pids_in(path))
    signals = itertools.count()
    real = signal_group

    def and_again(leader: int, number: signal.Signals) -> None:
        real(leader, number)
        if next(signals) == 0:
            signal.setitimer(signal.ITIMER_REAL, 0.2)

    monkeypatch.setattr(module, "signal_group", and_again)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            bench.executor.cancel()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not alive(pids_in(path)[0])
    assert bench.executor.has_room(Resources(2))


def test_no_descriptor_is_left_open(local: MakeBench) -> None:
    bench = local()
    for index in range(3):
        if index == 1:
            for claim in bench.claims:
                claim.release()
            before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        assert isinstance(bench.outcome(toy("Steps", {"seconds": 0.0 + index / 1000})), WorkOutput)
    for claim in bench.claims:
        claim.release()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
