"""Depth first: the order in which nodes start."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.core.graph import Graph, Node, Resources, Runtime
from qpipe.core.priority import priorities
from qpipe.core.store import ArtifactStore
from tests.core.synthetic import InstantExecutor, node, run

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


def test_what_does_not_fit_leaves_no_room_idle(store: ArtifactStore) -> None:
    """The first in order needs two cores; the others take the one that is free meanwhile."""

    class Cores(InstantExecutor):
        """Two cores; ends one node at each look."""

        def has_room(self, needs: Resources) -> bool:
            return sum(job.needs.cpus for job in self.jobs) + needs.cpus <= 2

        def wait(self, timeout: float) -> list:  # type: ignore[type-arg]
            later, self.jobs = self.jobs[1:], self.jobs[:1]
            ended = list(super().wait(timeout))
            self.jobs = later
            return ended

    small = [node(f"small{n}") for n in range(3)]
    wide = node("wide", inputs={"x": small[0]}, runtime=Runtime("x:y", Resources(cpus=2)))
    executor = Cores()
    jobs = [[small[0].id, wide.id], [small[1].id], [small[2].id]]
    run(Graph([*small, wide]), store, executor, jobs=jobs)
    assert executor.passes == [["small0"], ["small1"], ["small2"], ["wide"]]


def test_a_node_of_no_job_counts_as_one_of_those_that_need_it() -> None:
    lone: Node = node("lone")
    user = node("user", inputs={"x": lone})
    first, shared = node("first"), node("shared")
    graph = Graph([lone, first, shared, user])
    ranks = priorities(graph, [[first.id, shared.id], [user.id, shared.id]])
    assert [ranks[n.id] for n in (lone, first, shared, user)] == [
        (1, -1, 0), (0, -1, 1), (0, -1, 2), (1, -2, 3),
    ]  # fmt: skip
