"""Runs that keep their results alone: what nothing needs any more goes at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qpipe.core import dropped, gc
from qpipe.core.events import NodeFinished
from qpipe.core.executor import WorkItem, WorkOutput
from qpipe.core.forecast import forecast
from qpipe.core.graph import Graph, Node, Resources, Runtime
from qpipe.core.manifest import Usage, scan
from qpipe.core.outcome import RunResult
from qpipe.core.store import ArtifactStore
from qpipe.errors import CheckpointError, QpipeError
from tests.core.synthetic import InstantExecutor, node, run, write

MODEL = 2 << 20
LEVELS = ("Q4", "Q8")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ArtifactStore]:
    store = ArtifactStore(tmp_path / "store")
    yield store
    store.close()


def large(job: WorkItem) -> WorkOutput | QpipeError:
    """A model of some megabytes, which tells what it was made from; a score is small."""
    if job.node.name.startswith("score"):
        return write(job)
    (job.out / "model.bin").write_bytes(job.node.name.encode().ljust(MODEL, b"x"))
    return WorkOutput(scan(job.out), usage=Usage(seconds=1.0))


def sweep(count: int) -> tuple[Graph, list[list[str]]]:
    """Models that are fetched, converted, quantized to two levels and measured, and their jobs."""
    nodes, jobs = [], []
    for m in range(count):
        fetched = node(f"fetch{m}")
        converted = node(f"convert{m}", inputs={"x": fetched})
        nodes += [fetched, converted]
        for level in LEVELS:
            wide = Runtime("tests.toys:Write", Resources(cpus=2))
            made = node(f"{level}-{m}", inputs={"model": converted}, runtime=wide)
            score = node(f"score-{level}-{m}", inputs={"x": made})
            nodes += [made, score]
            jobs.append([n.id for n in (fetched, converted, made, score)])
    return Graph(nodes), jobs


class Weighing(InstantExecutor):
    """Does a node at a time, and notes the most bytes that the store held."""

    folder: Path
    peak = 0

    def wait(self, timeout: float):  # type: ignore[no-untyped-def]
        ended = super().wait(timeout)
        held = sum(f.stat().st_size for f in self.folder.rglob("model.bin"))
        self.peak = max(self.peak, held)
        return ended


def weighing(store: ArtifactStore) -> Weighing:
    executor = Weighing(large, room=1)
    executor.folder = store.paths.root
    return executor


def names(result: RunResult, status: str) -> set[str]:
    return {o.node.name for o in result.outcomes.values() if o.status == status}


def test_the_peak_is_about_one_model_and_the_first_number_comes_early(
    store: ArtifactStore,
) -> None:
    graph, jobs = sweep(5)
    executor = weighing(store)
    result, events = run(graph, store, executor, jobs=jobs, results_only=True)
    assert result.counts == {"ran": len(graph)}
    sources = 5 * MODEL
    assert executor.peak - sources <= 2 * MODEL, "a model and the level that is made of it"
    assert executor.calls.index("score-Q4-0") < len(graph) / 5
    left = {f.parent.name for f in store.paths.artifacts.rglob("model.bin")}
    assert len(left) == 5, "sources stay: they are links"
    ends = [e.name for e in events if isinstance(e, NodeFinished)]
    assert sorted(ends) == sorted(n.name for n in graph.values())

    keeping = weighing(ArtifactStore(store.paths.root.with_name("all")))
    run(graph, ArtifactStore(keeping.folder), keeping, jobs=jobs)
    assert keeping.peak == 20 * MODEL


def test_the_same_run_again_makes_nothing(store: ArtifactStore) -> None:
    graph, jobs = sweep(2)
    run(graph, store, weighing(store), jobs=jobs, results_only=True)
    executor = weighing(store)
    result, events = run(graph, store, executor, jobs=jobs, results_only=True)
    assert executor.calls == []
    assert result.counts == {"cached": len(graph)}
    ends = [e.name for e in events if isinstance(e, NodeFinished)]
    assert sorted(ends) == sorted(n.name for n in graph.values()), "each once"


def test_what_is_needed_after_all_is_made_again_with_what_that_needs(store: ArtifactStore) -> None:
    graph, jobs = sweep(2)
    run(graph, store, weighing(store), jobs=jobs, results_only=True)
    more = node("score-more", inputs={"x": next(n for n in graph.values() if n.name == "Q8-1")})
    executor = weighing(store)
    result, events = run(
        Graph([*graph.values(), more]), store, executor, jobs=jobs, results_only=True
    )
    assert executor.calls == ["convert1", "Q8-1", "score-more"]
    assert names(result, "ran") == {*executor.calls}
    ends = [e.name for e in events if isinstance(e, NodeFinished)]
    assert len(ends) == len(set(ends)) == len(graph) + 1
    assert len(list(store.paths.artifacts.rglob("model.bin"))) == 2


def test_who_wants_all_gets_all(store: ArtifactStore) -> None:
    graph, jobs = sweep(1)
    run(graph, store, weighing(store), jobs=jobs, results_only=True)
    executor = weighing(store)
    run(graph, store, executor, jobs=jobs)
    assert executor.calls == ["convert0", "Q4-0", "Q8-0"]
    assert len(list(store.paths.artifacts.rglob("model.bin"))) == 4


def test_what_is_no_intermediate_stays(store: ArtifactStore) -> None:
    """A level that nothing measures; what was there before; what a failed measurement needs."""
    graph, jobs = sweep(1)
    convert, q4 = (next(n for n in graph.values() if n.name == x) for x in ("convert0", "Q4-0"))
    lone = node("lone", inputs={"model": convert})
    run(Graph([graph[i] for i in jobs[0][:3]]), store, weighing(store))

    def failing(job: WorkItem) -> WorkOutput | QpipeError:
        return CheckpointError("broke") if job.node.name == "score-Q8-0" else large(job)

    run(
        Graph([*graph.values(), lone]), store, InstantExecutor(failing), jobs=jobs,
        results_only=True, keep_going=True,
    )  # fmt: skip
    left = {f.read_bytes().rstrip(b"x").decode() for f in store.paths.artifacts.rglob("model.bin")}
    assert left == {"fetch0", "convert0", q4.name, "Q8-0", "lone"}


def test_what_another_run_uses_stays(store: ArtifactStore) -> None:
    graph, jobs = sweep(1)
    other = ArtifactStore(store.paths.root)
    used: list[str] = []

    def using(job: WorkItem) -> WorkOutput | QpipeError:
        if job.node.name == "score-Q4-0":
            key = job.inputs["x"].name
            assert other.lookup(key)[0] is not None
            used.append(key)
        return large(job)

    run(graph, store, InstantExecutor(using, room=1), jobs=jobs, results_only=True)
    assert other.peek(used[0]) is not None
    assert dropped.recall(store, used[0]) is None
    other.close()


def test_pins_and_forecasts(store: ArtifactStore) -> None:
    graph, jobs = sweep(1)
    run(graph, store, weighing(store), jobs=jobs, results_only=True)
    states = {f.node.name: f.state for f in forecast(graph, store, results_only=True)}
    assert set(states.values()) == {"cached"}
    more = node("score-more", inputs={"x": next(n for n in graph.values() if n.name == "Q8-0")})
    told = forecast(Graph([*graph.values(), more]), store, results_only=True)
    by_name = {f.node.name: f for f in told}
    assert by_name["Q8-0"].state == by_name["convert0"].state == "run"
    assert by_name["Q4-0"].state == "cached"
    assert "needed again" in by_name["Q8-0"].why
    assert {f.node.name: f.state for f in forecast(graph, store)}["convert0"] == "run"


def test_a_pinned_artifact_stays(store: ArtifactStore) -> None:
    graph, jobs = sweep(1)

    def pinning(job: WorkItem) -> WorkOutput | QpipeError:
        if job.node.name == "score-Q4-0":
            gc.pin(store, "precious", [job.inputs["x"].name])
        return large(job)

    run(graph, store, InstantExecutor(pinning, room=1), jobs=jobs, results_only=True)
    left = {f.read_bytes().rstrip(b"x").decode() for f in store.paths.artifacts.rglob("model.bin")}
    assert left == {"fetch0", "Q4-0"}


def test_a_result_that_something_takes_stays(store: ArtifactStore) -> None:
    """As a measurement with sums for each token, which a chain hands on."""
    source = node("source")
    measured = replace(node("measured", inputs={"x": source}), stage="evaluate")
    best = node("score", inputs={"x": measured})
    run(
        Graph([source, measured, best]), store, InstantExecutor(large), results_only=True,
        results=("evaluate",),
    )  # fmt: skip
    assert len(list(store.paths.artifacts.rglob("model.bin"))) == 2


def test_two_ways_to_one_artifact(store: ArtifactStore) -> None:
    """It goes once neither way needs it."""
    a = [node(f"a{n}", params={"text": "same", "index": n}) for n in range(2)]
    b = [node(f"b{n}", inputs={"x": a[n]}, params={"text": "b"}) for n in range(2)]
    c: list[Node] = [node(f"score{n}", inputs={"x": b[n]}) for n in range(2)]

    def work(job: WorkItem) -> WorkOutput | QpipeError:
        if job.node.name.startswith("b"):
            (job.out / "model.bin").write_bytes(b"x" * MODEL)
            return WorkOutput(scan(job.out))
        assert all(path.is_dir() for path in job.inputs.values())
        return write(job)

    jobs = [[a[n].id, b[n].id, c[n].id] for n in range(2)]
    executor = InstantExecutor(work, room=1)
    result, _ = run(Graph([*a, *b, *c]), store, executor, jobs=jobs, results_only=True)
    assert result.status == "done"
    assert list(store.paths.artifacts.rglob("model.bin")) == []
