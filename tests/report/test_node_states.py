from __future__ import annotations

from typing import Any

import pytest

from qpipe.core.events import Estimated, Event, NodeFinished, NodeProgress, NodeStarted, RunStarted
from qpipe.report.node_states import follow, run_seconds_left, seconds_left

NAMES = {"a": "quantize[Q8_0]", "b": "quantize[Q4_0]", "c": "kld[Q8_0]", "d": "kld[Q4_0]"}


def after(*events: Event) -> dict[str, dict[str, Any]]:
    nodes: dict[str, dict[str, Any]] = {}
    for event in [RunStarted(NAMES, at=0.0), *events]:
        follow(nodes, event.record())
    return nodes


def started(node: str, at: float, first: str | None = None) -> NodeStarted:
    return NodeStarted(node, NAMES[node], "k", None, first, at=at)


def progress(node: str, done: int, at: float) -> NodeProgress:
    return NodeProgress(node, NAMES[node], done, 1000, "tokens", at=at)


@pytest.mark.parametrize(
    ("done", "left"), [((5,), None), ((99,), None), ((100,), 90.0), ((500,), 10.0), ((1000,), None)]
)
def test_a_node_is_estimated_after_its_first_tenth(done: tuple[int, ...], left: float) -> None:
    nodes = after(started("c", 10.0), *(progress("c", n, 20.0) for n in done))
    assert seconds_left(nodes["c"], 20.0) == left


def test_the_rate_is_its_own_and_not_that_of_its_start() -> None:
    """A node that went on from 600 of 1000 and does 10 in a second."""
    nodes = after(started("c", 0.0), progress("c", 600, 50.0), progress("c", 700, 60.0))
    assert seconds_left(nodes["c"], 60.0) == 30.0
    assert seconds_left(nodes["c"], 65.0) == 25.0


def test_a_note_takes_nothing_from_how_far_it_is() -> None:
    note = NodeProgress("a", NAMES["a"], 0, 0, "", "compiling kernels", at=30.0)
    nodes = after(started("a", 10.0), progress("a", 500, 20.0), note)
    assert (nodes["a"]["note"], nodes["a"]["done"]) == ("compiling kernels", 500)
    follow(nodes, progress("a", 600, 31.0).record())
    assert nodes["a"]["note"] == ""


def test_a_run_is_not_estimated_before_all_kinds_can_be() -> None:
    begun = [started("a", 0.0), NodeFinished("a", NAMES["a"], "ran", seconds=10.0, at=10.0)]
    assert run_seconds_left([*after(*begun).values()], 10.0) is None
    known = after(*begun, Estimated({"c": 30.0, "d": 30.0}, at=10.0))
    assert run_seconds_left([*known.values()], 10.0) == 70.0, "b as a took, c and d as before"


def test_what_ended_says_how_far_expectations_are_off() -> None:
    nodes = after(
        Estimated({"c": 30.0, "d": 60.0}),
        *(NodeFinished(n, NAMES[n], "cached", at=0.0) for n in "ab"),
        started("c", 0.0),
        NodeFinished("c", NAMES["c"], "ran", seconds=15.0, at=15.0),
    )
    assert run_seconds_left([*nodes.values()], 15.0) == 30.0


def test_nodes_of_one_pass_are_one_work() -> None:
    ended = [NodeFinished(n, NAMES[n], "cached", at=0.0) for n in "cd"]
    nodes = after(
        Estimated({"a": 20.0, "b": 20.0}), *ended, started("a", 0.0), started("b", 0.0, "a")
    )
    assert run_seconds_left([*nodes.values()], 10.0) == 30.0
    for node in "ab":
        follow(nodes, progress(node, 500, 10.0).record())
    assert run_seconds_left([*nodes.values()], 10.0) == 10.0


def test_two_workers_share_what_waits() -> None:
    nodes = after(Estimated(dict.fromkeys(NAMES, 20.0)), started("a", 0.0), started("b", 0.0))
    assert run_seconds_left([*nodes.values()], 0.0) == 40.0
    assert run_seconds_left([*after(Estimated({})).values()], 0.0) is None
