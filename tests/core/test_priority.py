"""Depth first: the order in which nodes start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpipe.core.executor import WorkEnd, WorkItem, WorkProgress
from qpipe.core.graph import Graph, Node, Resources, Runtime
from qpipe.core.priority import priorities
from qpipe.core.store import ArtifactStore
from qpipe.errors import CheckpointError
from tests.core.synthetic import InstantExecutor, node, run, write

LEVELS = ("Q4", "Q8")


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def models(count: int, *, reads_once: str | None = None) -> tuple[Graph, list[list[str]]]:
    """Models of two levels each: fetched, converted, quantized and measured; and their jobs.

    In the graph all that is fetched comes first, and so on.
    """
    once = Runtime("tests.toys:WriteOnce", reads_once=reads_once)
    fetched = [node(f"fetch{m}") for m in range(count)]
    converted = [node(f"convert{m}", inputs={"x": fetched[m]}) for m in range(count)]
    quantized, measured, jobs = [], [], []
    for m in range(count):
        for level in LEVELS:
            made = node(f"{level}-{m}", inputs={"model": converted[m]}, runtime=once)
            score = node(f"score-{level}-{m}", inputs={"x": made})
            quantized.append(made)
            measured.append(score)
            jobs.append([n.id for n in (fetched[m], converted[m], made, score)])
    return Graph([*fetched, *converted, *quantized, *measured]), jobs


def test_one_level_is_measured_before_the_next_model_is_fetched(store: ArtifactStore) -> None:
    graph, jobs = models(5)
    executor = InstantExecutor(room=1)
    result, _ = run(graph, store, executor, jobs=jobs)
    assert result.status == "done"
    assert executor.calls[:7] == [
        "fetch0", "convert0", "Q4-0", "score-Q4-0", "Q8-0", "score-Q8-0", "fetch1",
    ]  # fmt: skip
    assert executor.calls.index("score-Q4-0") < len(graph) / 5
    assert executor.calls[-1] == "score-Q8-4"


def test_levels_of_one_model_are_still_one_pass(store: ArtifactStore) -> None:
    graph, jobs = models(3, reads_once="model")
    executor = InstantExecutor(room=1)
    by_level = [*jobs[::2], *jobs[1::2]]  # a sweep whose models vary fastest
    run(graph, store, executor, jobs=by_level)
    passes = [names for names in executor.passes if len(names) > 1]
    assert passes == [[f"Q4-{m}", f"Q8-{m}"] for m in range(3)]
    assert executor.calls.index("score-Q4-0") < executor.calls.index("fetch1")


@dataclass
class Cores(InstantExecutor):
    """Books cores; ends the node that began first at each look. ``idle`` counts looks at nothing.

    ``begun`` are the names in the order of starting, ``free`` the cores that were left then.
    """

    cores: int = 2
    idle: int = 0
    begun: list[str] = field(default_factory=list)

    def fits(self, needs: Sequence[Resources]) -> bool:
        return sum(min(each.cpus, self.cores) for each in needs) <= self.cores

    def has_room(self, needs: Resources) -> bool:
        return self.fits([*(job.needs for job in self.jobs), needs])

    def submit(self, *jobs: WorkItem) -> Sequence[str | None]:
        self.begun += [job.node.name for job in jobs]
        return super().submit(*jobs)

    def wait(self, timeout: float) -> Sequence[WorkEnd | WorkProgress]:
        self.idle += not self.jobs
        later, self.jobs = self.jobs[1:], self.jobs[:1]
        ended = list(super().wait(0.0))
        self.jobs = later
        return ended


def wide(*, cpus: int = 2, input_bytes_per_cpu: int = 0) -> Runtime:
    resources = Resources(cpus=cpus, input_bytes_per_cpu=input_bytes_per_cpu)
    return Runtime("tests.toys:Write", resources)


def test_what_does_not_fit_is_passed_for_as_many_cores_as_it_takes(store: ArtifactStore) -> None:
    source = node("source")
    small = [node(f"small{n}", inputs={"x": source}) for n in range(5)]
    score = node("score", inputs={"x": small[0]}, runtime=wide())
    executor = Cores()
    jobs = [[source.id, small[0].id, score.id], *([each.id] for each in small[1:])]
    result, _ = run(Graph([source, *small, score]), store, executor, jobs=jobs)
    assert result.status == "done"
    assert executor.begun == [
        "source", "small0", "small1", "small2", "small3", "score", "small4",
    ]  # fmt: skip


def sized(count: int, runtime: Runtime) -> tuple[Graph, list[list[str]]]:
    """As `models`, with two levels each that are quantized as ``runtime`` says."""
    nodes, jobs = [], []
    for m in range(count):
        fetched = node(f"fetch{m}")
        converted = node(f"convert{m}", inputs={"x": fetched})
        nodes += [fetched, converted]
        for level in LEVELS:
            made = node(f"{level}-{m}", inputs={"model": converted}, runtime=runtime)
            score = node(f"score-{level}-{m}", inputs={"x": made})
            nodes += [made, score]
            jobs.append([n.id for n in (fetched, converted, made, score)])
    return Graph(nodes), jobs


def test_a_large_model_is_measured_before_the_next_is_fetched(store: ArtifactStore) -> None:
    """Though fetching takes one core, and one is free."""
    graph, jobs = sized(5, wide())
    executor = Cores()
    result, _ = run(graph, store, executor, jobs=jobs)
    assert result.status == "done"
    order = executor.begun.index
    assert order("score-Q4-0") < order("fetch1")
    assert order("score-Q4-0") < len(graph) / 5
    assert all(order(f"Q8-{m}") < order(f"fetch{m + 1}") for m in range(4))
    assert executor.idle == 0


def test_small_models_go_side_by_side(store: ArtifactStore) -> None:
    """Once their size is known: a core for each begun 1,000 bytes."""
    graph, jobs = sized(3, wide(input_bytes_per_cpu=1000))
    executor = Cores()
    run(graph, store, executor, jobs=jobs)
    assert executor.begun[:4] == ["fetch0", "convert0", "fetch1", "Q4-0"]


def test_models_that_vary_fastest_are_taken_one_after_the_other(store: ArtifactStore) -> None:
    graph, jobs = sized(3, wide())
    executor = Cores()
    run(graph, store, executor, jobs=[*jobs[::2], *jobs[1::2]])
    assert executor.begun.index("Q8-0") < executor.begun.index("fetch1")


@settings(max_examples=60)
@given(st.data())
def test_nothing_ever_waits_while_nothing_runs(data: st.DataObject) -> None:
    """Whatever the graph, the jobs, the cores and what fails: it comes to its end."""
    nodes: list[Node] = []
    for index in range(data.draw(st.integers(1, 14))):
        indices = st.lists(st.integers(0, index - 1), max_size=2, unique=True)
        sources = [nodes[n] for n in data.draw(indices)] if index else []
        runtime = wide(
            cpus=data.draw(st.integers(0, 4)),
            input_bytes_per_cpu=data.draw(st.sampled_from([0, 1, 1000])),
        )
        inputs = {f"r{n}": source for n, source in enumerate(sources)}
        nodes.append(node(f"n{index}", inputs=inputs, runtime=runtime))
    names = [n.name for n in nodes]
    broken = data.draw(st.lists(st.sampled_from(names), max_size=2))
    jobs = data.draw(st.lists(st.lists(st.sampled_from([n.id for n in nodes])), max_size=6))
    executor = Cores(
        lambda job: CheckpointError("broke") if job.node.name in broken else write(job),
        cores=data.draw(st.integers(1, 3)),
    )
    with TemporaryDirectory() as folder:
        result, _ = run(
            Graph(nodes), ArtifactStore(Path(folder)), executor, jobs=jobs, keep_going=True
        )
    assert executor.idle == 0
    assert len(result.outcomes) == len(nodes)
    failed = {o.node.name for o in result.outcomes.values() if o.status == "failed"}
    assert failed <= {*broken}


def test_a_node_of_no_job_counts_as_one_of_those_that_need_it() -> None:
    lone: Node = node("lone")
    user = node("user", inputs={"x": lone})
    first, shared = node("first"), node("shared")
    graph = Graph([lone, first, shared, user])
    ranks = priorities(graph, [[first.id, shared.id], [user.id, shared.id]])
    assert [tuple(ranks[n.id]) for n in (lone, first, shared, user)] == [
        (1, 1, -1, 0), (0, 0, -1, 1), (0, 0, -1, 2), (1, 1, -2, 3),
    ]  # fmt: skip


def test_what_leads_from_one_source_is_of_one_era() -> None:
    graph, jobs = models(3)
    by_level = [*jobs[::2], *jobs[1::2]]
    eras = {graph[n].name: rank.era for n, rank in priorities(graph, by_level).items()}
    assert {name: era for name, era in eras.items() if name.endswith("1")} == {
        "fetch1": 1, "convert1": 1, "Q4-1": 1, "Q8-1": 1, "score-Q4-1": 1, "score-Q8-1": 1,
    }  # fmt: skip
