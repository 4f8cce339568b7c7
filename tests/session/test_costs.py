"""What a run takes by stage, and on disk at most, of a graph that can be added up by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qpipe.core.graph import Graph, Node, Resources, Runtime
from qpipe.session.costs import DroppedNode, RunCost, cost
from qpipe.session.estimates import NodeEstimate, memory_by
from tests.session.conftest import Swept

MIB = 1 << 20
GIB = 1 << 30


def node(name: str, stage: str, needs: Resources | None = None, **inputs: Node) -> Node:
    wired = {role: each.id for role, each in inputs.items()}
    runtime = Runtime("toy:Toy", needs or Resources())
    return Node(name, stage, 1, {"name": name}, {}, wired, runtime)


SOURCE = node("download", "download")
MADE = [
    node(f"quantize[{level}]", "quantize", Resources(memory=GIB), model=SOURCE)
    for level in ("Q8_0", "Q4_0")
]
SIZED = Resources(memory=GIB, memory_per_input_byte=2.0, gpus=1, sized_by="model")
MEASURED = [
    node(f"kld[{each.name[9:-1]}]", "evaluate", SIZED, model=each, tokens=SOURCE) for each in MADE
]
GRAPH = Graph([SOURCE, *MADE, *MEASURED])
SIZES = {SOURCE.id: 1000 * MIB, MADE[0].id: 400 * MIB, MADE[1].id: 300 * MIB}
WRITTEN = SIZES | {each.id: 100 for each in MEASURED}


def taken(made: list[Node], estimates: dict[str, NodeEstimate] | None = None) -> RunCost:
    jobs = [[SOURCE.id, MADE[i].id, MEASURED[i].id] for i in range(2)]
    ids = {each.id for each in made}
    written = {each: size for each, size in WRITTEN.items() if each in ids}
    return cost(GRAPH, jobs, made=ids, estimates=estimates or {}, sizes=SIZES, written=written)


def test_one_level_is_measured_and_goes_before_the_next_is_made() -> None:
    whole = taken([*GRAPH.values()])
    assert whole.at_once == 1400 * MIB + 100
    assert whole.dropped == (
        DroppedNode("quantize[Q8_0]", "kld[Q8_0]", 400 * MIB),
        DroppedNode("quantize[Q4_0]", "kld[Q4_0]", 300 * MIB),
    )


def test_what_is_there_already_is_not_written_and_does_not_go() -> None:
    rest = taken([MADE[1], *MEASURED])
    assert rest.at_once == 300 * MIB + 200
    assert [each.name for each in rest.dropped] == ["quantize[Q4_0]"]


def test_memory_is_as_measured_here_else_as_declared() -> None:
    by_stage = {each.stage: each for each in taken([*GRAPH.values()]).stages}
    assert by_stage["download"].memory is None
    assert by_stage["quantize"].memory == GIB
    kld = by_stage["kld"]
    assert (kld.memory, kld.measured) == (GIB + 800 * MIB, False)
    assert (kld.gpus, kld.gpu_memory) == (1, 400 * MIB)
    known = {MEASURED[1].id: NodeEstimate(5.0, 2 * GIB)}
    whole = taken([*GRAPH.values()], known)
    (kld,) = (each for each in whole.stages if each.stage == "kld")
    assert (kld.memory, kld.measured, kld.seconds, kld.timed) == (2 * GIB, True, 5.0, 1)
    assert whole.memory == kld == whole.gpu


@pytest.mark.parametrize(
    ("size", "foreseen"),
    [(100, 150), (200, 250), (1000, 1050), (40, 90), (10, 60)],
)
def test_memory_grows_with_the_input_as_the_stage_declares(size: int, foreseen: int) -> None:
    """150 bytes were taken of an input of 100, and each byte more is said to take one."""
    assert memory_by(1.0, [(150, 100)], size) == foreseen
    assert memory_by(1.0, [], size) is None


def test_it_never_grows_more_than_in_proportion() -> None:
    assert memory_by(2.0, [(150, 100)], 200) == 300
    assert memory_by(5.0, [(150, 100)], 50) == 75


def test_runs_record_what_was_foreseen_and_what_it_came_to(swept: Swept) -> None:
    runs = sorted(Path(swept.session.runs).glob("*/run.json"))
    nodes = [each for run in runs for each in json.loads(run.read_bytes())["nodes"]]
    ran = [each for each in nodes if each["status"] == "ran"]
    assert ran
    assert all(each["actual"]["peak_rss"] > MIB for each in ran)
    made = [each for each in ran if each["stage"] == "quantize"]
    assert made
    for each in made:
        forecast, actual = each["forecast"], each["actual"]
        assert forecast["size_bytes"] == pytest.approx(actual["size_bytes"], abs=4096)
    assert all("actual" not in each for each in nodes if each["status"] == "cached")
