"""Nodes that read the same input, made by one worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.core.events import NodeStarted, Warned
from qpipe.core.executor import WorkItem, WorkOutput
from qpipe.core.graph import Graph, Node, Resources, Runtime
from qpipe.core.store import ArtifactStore
from qpipe.errors import (
    CheckpointError,
    OutOfMemoryError,
    QpipeError,
    StageTimeoutError,
    WorkerCrashError,
)
from tests.core.synthetic import InstantExecutor, claimed, node, run, write

ONCE = Runtime("tests.toys:WriteOnce", reads_once="model")


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def level(name: str, model: Node, runtime: Runtime = ONCE, **others: Node) -> Node:
    return node(name, inputs={"model": model, **others}, runtime=runtime)


def levels(*names: str, model: Node) -> list[Node]:
    return [level(name, model) for name in names]


def test_what_reads_the_same_input_is_one_pass(store: ArtifactStore) -> None:
    a, b = node("a"), node("b")
    executor = InstantExecutor()
    graph = Graph([a, b, *levels("a1", "a2", "a3", model=a), *levels("b1", "b2", model=b)])
    result, events = run(graph, store, executor)
    assert result.status == "done"
    assert executor.passes == [["a"], ["b"], ["a1", "a2", "a3"], ["b1", "b2"]]
    started = [event.name for event in events if isinstance(event, NodeStarted)]
    assert started == ["a", "b", "a1", "a2", "a3", "b1", "b2"]


def test_other_code_needs_or_limits_are_other_passes(store: ArtifactStore) -> None:
    a = node("a")
    runtimes = {
        "same": ONCE,
        "alone": Runtime("tests.toys:WriteOnce"),
        "entry": Runtime("tests.toys:Write", reads_once="model"),
        "python": Runtime("tests.toys:WriteOnce", python="/python", reads_once="model"),
        "timeout": Runtime("tests.toys:WriteOnce", timeout=3.0, reads_once="model"),
        "needs": Runtime("tests.toys:WriteOnce", Resources(cpus=2), reads_once="model"),
    }
    executor = InstantExecutor()
    nodes = [level(name, a, runtime) for name, runtime in runtimes.items()]
    run(Graph([a, level("first", a), *nodes]), store, executor)
    assert [names for names in executor.passes if len(names) > 1] == [["first", "same"]]


def test_inputs_in_other_roles_may_differ(store: ArtifactStore) -> None:
    a, weights = node("a"), node("weights")
    executor = InstantExecutor()
    graph = Graph([a, weights, level("plain", a), level("weighted", a, imatrix=weights)])
    run(graph, store, executor)
    assert executor.passes[-1] == ["plain", "weighted"]


def test_a_pass_has_a_limit(store: ArtifactStore) -> None:
    a = node("a")
    executor = InstantExecutor()
    run(Graph([a, *levels(*(f"l{n}" for n in range(30)), model=a)]), store, executor)
    assert [len(names) for names in executor.passes] == [1, 12, 12, 6]


def test_what_is_cached_or_made_elsewhere_is_no_part_of_it(store: ArtifactStore) -> None:
    a = node("a")
    one, two, three = levels("one", "two", "three", model=a)
    first, _ = run(Graph([a, one]), store)
    made = next(o.artifact for o in first.outcomes.values() if o.node is a)
    assert made is not None
    elsewhere = claimed(store, two.key({"model": made.manifest.digest}))

    def release(job: WorkItem) -> WorkOutput | QpipeError:
        elsewhere.release()
        return write(job)

    executor = InstantExecutor(release)
    result, _ = run(Graph([a, one, two, three]), store, executor)
    assert result.counts == {"cached": 2, "ran": 2}
    assert executor.passes == [["three"], ["two"]]


@pytest.mark.parametrize("error", [WorkerCrashError, OutOfMemoryError])
def test_after_a_crash_each_is_made_by_itself(
    store: ArtifactStore, error: type[QpipeError]
) -> None:
    a = node("a")
    executor = InstantExecutor()

    def work(job: WorkItem) -> WorkOutput | QpipeError:
        together = len(executor.passes[-1]) > 1 and job.node.name in executor.passes[-1]
        return error("it was killed") if together or job.node.name == "bad" else write(job)

    executor.work = work
    graph = Graph([a, *levels("good", "bad", "fine", model=a)])
    result, events = run(graph, store, executor, keep_going=True)
    assert executor.passes == [["a"], ["good", "bad", "fine"], ["good"], ["bad"], ["fine"]]
    assert {o.node.name: o.status for o in result.outcomes.values()} == {
        "a": "ran",
        "good": "ran",
        "bad": "failed",
        "fine": "ran",
    }
    warnings = [event.message for event in events if isinstance(event, Warned)]
    assert len(warnings) == 3
    assert warnings[0].startswith("good: made again by itself")


def test_nothing_is_promised_that_is_then_skipped(store: ArtifactStore) -> None:
    a = node("a")
    graph = Graph([a, *levels("one", "two", model=a)])
    executor = InstantExecutor(
        lambda job: write(job) if job.node.name == "a" else StageTimeoutError("too long"),
        room=1,
    )
    result, events = run(graph, store, executor)
    warnings = [event.message.split(":")[0] for event in events if isinstance(event, Warned)]
    assert warnings == ["one"]
    assert [o.status for o in result.outcomes.values()] == ["ran", "failed", "skipped"]


def test_an_error_of_its_own_fails_a_node_of_a_pass(store: ArtifactStore) -> None:
    a = node("a")

    def work(job: WorkItem) -> WorkOutput | QpipeError:
        return CheckpointError("it is damaged") if job.node.name == "bad" else write(job)

    executor = InstantExecutor(work)
    graph = Graph([a, *levels("good", "bad", model=a)])
    result, _ = run(graph, store, executor, keep_going=True)
    assert executor.passes == [["a"], ["good", "bad"]]
    assert result.counts == {"ran": 2, "failed": 1}
