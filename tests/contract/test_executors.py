"""What every executor must do, in the same words."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qpipe.core import runner
from qpipe.core.events import Event, NodeProgress, NodeStarted
from qpipe.core.executor import WorkOutput
from qpipe.core.graph import Graph, Node, Resources
from qpipe.core.layout import RunPaths
from qpipe.core.store import ArtifactStore
from qpipe.errors import (
    CheckpointError,
    OutOfMemoryError,
    OutOfSpaceError,
    QpipeError,
    WorkerCrashError,
)
from qpipe.executors.factory import NAMES, make
from tests.contract.running import Bench, toy
from tests.core.synthetic import node

FITS = Resources(cpus=1)


@pytest.fixture(params=NAMES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    executor = make(request.param, RunPaths(tmp_path / "run"), cpus=2)
    bench = Bench(executor, ArtifactStore(tmp_path / "store"))
    yield bench
    bench.close()


def test_a_job_that_works(bench: Bench, tmp_path: Path) -> None:
    made = tmp_path / "input"
    made.mkdir()
    (made / "out.txt").write_text("before")
    job = bench.submit(toy("Write", {"text": "after", "numbers": [1, 2]}), {"model": made})
    outcome = bench.wait()
    assert isinstance(outcome, WorkOutput)
    assert (job.out / "out.txt").read_text() == "after|before"
    (entry,) = outcome.files
    assert (entry.path, entry.size, entry.mtime_ns) == ("out.txt", 12, None)
    assert outcome.facts == {"length": 12, "numbers": [1, 2], "threads": 1}
    assert outcome.usage.seconds > 0
    assert outcome.usage.cpu_seconds > 0
    assert 5e6 < outcome.usage.peak_rss < 5e9
    assert set(outcome.tools) == {"qpipe", "python"}
    assert outcome.machine["cores"]
    assert bench.progress[-1].done == bench.progress[-1].total == 12
    assert bench.progress[-1].unit == "bytes"
    assert bench.progress[-1].item is job


@pytest.mark.parametrize(
    ("how", "value", "kind", "words"),
    [
        ("checkpoint_error", 0, CheckpointError, "model.safetensors: the header says 10 bytes"),
        ("memory_error", 0, OutOfMemoryError, "toy: memory ran out"),
        ("os_error", errno.ENOMEM, OutOfMemoryError, "toy: memory ran out"),
        ("os_error", errno.ENOSPC, OutOfSpaceError, "the disk is full (writing /somewhere/model"),
        ("os_error", errno.EDQUOT, OutOfSpaceError, "the disk is full"),
        ("os_error", errno.EIO, WorkerCrashError, "toy: OSError: [Errno 5]"),
        ("value_error", 0, WorkerCrashError, "toy: unexpected ValueError: nobody expected this"),
        ("sys_exit", 3, WorkerCrashError, "toy: the stage called sys.exit(3)"),
        ("sys_exit", 0, WorkerCrashError, "toy: the stage called sys.exit(0)"),
    ],
)
def test_errors_arrive_as_what_they_are(
    bench: Bench, how: str, value: int, kind: type[QpipeError], words: str
) -> None:
    outcome = bench.outcome(toy("End", {"how": how, "value": value}))
    assert type(outcome) is kind
    assert words in str(outcome)


def test_a_full_disk_leaves_nothing_half_written(bench: Bench) -> None:
    job = bench.submit(toy("End", {"how": "os_error", "value": errno.ENOSPC}))
    assert isinstance(bench.wait(), OutOfSpaceError)
    assert list(job.out.iterdir()) == []


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_facts_that_no_manifest_can_hold(bench: Bench, value: str) -> None:
    outcome = bench.outcome(toy("Facts", {"how": value}))
    assert isinstance(outcome, WorkerCrashError)
    assert "toy: what the stage found out cannot be kept" in str(outcome)
    assert f"{{'ppl': {value}}}" in str(outcome)


@pytest.mark.parametrize("entry", ["tests.nowhere:Stage", "tests.toys:Nothing"])
def test_code_that_is_not_there(bench: Bench, entry: str) -> None:
    n = toy("Write", {"text": "x"})
    outcome = bench.outcome(replace(n, runtime=replace(n.runtime, entry=entry)))
    assert isinstance(outcome, WorkerCrashError)
    assert entry.split(":")[1] in str(outcome) or "tests.nowhere" in str(outcome)


def test_parameters_that_the_stage_does_not_know(bench: Bench) -> None:
    outcome = bench.outcome(toy("Write", {"text": "x", "extra": 1}))
    assert isinstance(outcome, WorkerCrashError)
    assert "extra" in str(outcome)


def test_room(bench: Bench) -> None:
    assert bench.executor.check(FITS) is None
    assert bench.executor.has_room(FITS)
    for index in range(2):
        if bench.executor.has_room(FITS):
            bench.submit(toy("Write", {"text": str(index)}))
    assert not bench.executor.has_room(FITS)
    while len(bench.done) < len(bench.claims):
        bench.wait()
    assert bench.executor.has_room(FITS)


def test_waiting_for_nothing_takes_its_time(bench: Bench) -> None:
    import time

    begun = time.monotonic()
    assert bench.executor.wait(0.15) == []
    assert time.monotonic() - begun >= 0.14


def test_after_a_cancel_nothing_is_reported(bench: Bench) -> None:
    bench.submit(toy("Sleep", {"seconds": 0.0}))
    bench.executor.cancel()
    assert bench.executor.wait(0.05) == []
    assert bench.executor.has_room(FITS)


def writers() -> list[Node]:
    a = toy("Write", {"text": "a"}, name="a")
    b, c = (node(name, inputs={"x": a}, params={"text": name}, runtime=a.runtime) for name in "bc")
    return [a, b, c, node("d", inputs={"x": b, "y": c}, params={"text": "d"}, runtime=a.runtime)]


def test_a_whole_run(bench: Bench) -> None:
    events: list[Event] = []
    for expected in ({"ran": 4}, {"cached": 4}):
        result = runner.run(
            Graph(writers()), store=bench.store, executor=bench.executor, emit=events.append
        )
        assert result.counts == expected
    last = list(result.outcomes.values())[-1].artifact
    assert last is not None
    assert (last.path / "out.txt").read_text() == "d|b|a|c|a"
    assert all(bench.store.verify(key) is None for key in bench.store.all_keys())
    assert sum(isinstance(e, NodeStarted) for e in events) == 4


def test_the_next_attempt_goes_on_from_what_the_last_one_left(bench: Bench) -> None:
    graph = Graph([toy("Count", {"to": 3})])
    for status in ("failed", "failed", "ran", "cached"):
        result = runner.run(graph, store=bench.store, executor=bench.executor, emit=lambda _: None)
        (outcome,) = result.outcomes.values()
        assert outcome.status == status
    assert outcome.artifact is not None
    assert (outcome.artifact.path / "out.txt").read_text() == "one one one"
    assert list(bench.store.paths.partials.iterdir()) == []


def test_the_same_bytes_and_facts_everywhere(tmp_path: Path) -> None:
    digests, facts = [], []
    for name in NAMES:
        bench = Bench(
            make(name, RunPaths(tmp_path / name), cpus=1), ArtifactStore(tmp_path / f"s-{name}")
        )
        result = runner.run(
            Graph(writers()), store=bench.store, executor=bench.executor, emit=lambda _: None
        )
        artifacts = [o.artifact for o in result.outcomes.values()]
        digests.append([a.manifest.digest for a in artifacts if a])
        facts.append([a.manifest.facts for a in artifacts if a])
        bench.close()
    assert digests[1:] == digests[:-1]
    assert facts[1:] == facts[:-1]


def test_what_reads_an_input_once_is_one_pass(bench: Bench, tmp_path: Path) -> None:
    result = bench.share(tmp_path / "passes.txt", "a", "b", "c")
    assert result.counts == {"ran": 4}
    assert (tmp_path / "passes.txt").read_text() == "a+b+c\n"
    for outcome in list(result.outcomes.values())[1:]:
        assert outcome.artifact is not None
        text = (outcome.artifact.path / "out.txt").read_text()
        assert text == f"{outcome.node.name}|model"
        assert outcome.artifact.manifest.usage.nodes == 3
    assert {e.name for e in bench.events if isinstance(e, NodeProgress)} >= {"a", "b", "c"}


def test_one_bad_node_fails_alone(bench: Bench, tmp_path: Path) -> None:
    passes = tmp_path / "passes.txt"
    result = bench.share(passes, "a", "bad", "c")
    ends = {o.node.name: o.status for o in result.outcomes.values()}
    assert ends == {"toy": "ran", "a": "ran", "bad": "failed", "c": "ran"}
    (error,) = [o.error for o in result.outcomes.values() if o.error]
    assert str(error) == "a bad text"
    assert passes.read_text().splitlines() == ["a+bad+c", "a", "bad", "c"]


def test_signals_are_numbers() -> None:
    """The toys take plain numbers."""
    assert int(signal.SIGSEGV) == 11
