"""Graphs: order, cycles, unknown needs, merging, Merkle ids."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpipe.core.graph import Graph, Node, Resources, merge, order
from qpipe.errors import GraphError
from tests.core.synthetic import node, tree


@given(st.dictionaries(st.integers(0, 30), st.sets(st.integers(0, 30), max_size=4), max_size=30))
def test_order_puts_needs_first(numbers: dict[int, set[int]]) -> None:
    needs = {
        str(n): [str(s) for s in sources if s < n and s in numbers]
        for n, sources in numbers.items()
    }
    found = order(needs)
    assert sorted(found) == sorted(needs)
    for name, sources in needs.items():
        assert all(found.index(source) < found.index(name) for source in sources)


def test_a_cycle_is_written_out() -> None:
    needs = {"a": ["c"], "b": ["a"], "c": ["b"], "d": ["a"]}
    with pytest.raises(GraphError, match="cycle") as caught:
        order(needs)
    path = str(caught.value).split(": ", 1)[1].split(" (")[0].split(" → ")
    assert path[0] == path[-1]
    assert len(path) == 4
    assert all(then in needs[now] for now, then in itertools.pairwise(path))


def test_a_stage_that_needs_itself() -> None:
    with pytest.raises(GraphError, match="a → a"):
        order({"a": ["a"]})


def test_an_unknown_need_is_answered_with_near_misses() -> None:
    with pytest.raises(GraphError, match=r"'evaluate' needs 'quantise'.*did you mean 'quantize'"):
        order({"download": [], "quantize": ["download"], "evaluate": ["quantise"]})
    with pytest.raises(GraphError, match="known: download, evaluate"):
        order({"download": [], "evaluate": ["xyz"]})


def chain(*texts: str) -> list[Node]:
    nodes: list[Node] = []
    for text in texts:
        inputs = {"model": nodes[-1]} if nodes else {}
        nodes.append(node(text, inputs=inputs))
    return nodes


def test_a_change_moves_the_ids_downstream_and_no_others() -> None:
    a, b, c = chain("a", "b", "c")
    side = node("side", inputs={"model": a})
    b2 = replace(b, params={"text": "other"})
    c2 = replace(c, inputs={"model": b2.id})
    assert b2.id != b.id
    assert c2.id != c.id
    assert replace(side, inputs={"model": a.id}).id == side.id


def test_merging_keeps_what_is_shared_once() -> None:
    one, two = Graph(chain("a", "b", "c")), Graph(chain("a", "b", "d"))
    merged = merge([one, two])
    assert [n.name for n in merged.values()] == ["a", "b", "c", "d"]
    assert merge([one, one]) == one
    assert len(merge([])) == 0


def test_an_input_must_come_first() -> None:
    a, b = chain("a", "b")
    with pytest.raises(GraphError, match="b: its input 'model' is no node"):
        Graph([b, a])


def test_users_and_downstream() -> None:
    a, b, c = chain("a", "b", "c")
    both = node("both", inputs={"x": a, "y": a})
    end = node("end", inputs={"x": both, "y": c})
    graph = Graph([a, both, b, c, end])
    assert graph.users[a.id] == [both.id, b.id]
    assert graph.downstream(a.id) == [both.id, b.id, c.id, end.id]
    assert graph.downstream(b.id) == [c.id, end.id]
    assert graph.downstream(end.id) == []
    assert graph.downstream(a.id, stop={b.id}) == [both.id, end.id]
    assert graph.downstream(a.id, stop={both.id, b.id}) == []


def test_renaming_changes_no_id() -> None:
    graph = tree(5)
    first = next(iter(graph))
    renamed = graph.renamed({first: "download[a]"}, {first: "a"})
    assert list(renamed) == list(graph)
    assert (renamed[first].name, renamed[first].made_for) == ("download[a]", "a")


def test_memory_grows_with_the_inputs_where_a_stage_says_so() -> None:
    needs = Resources(2, 100, 1, memory_per_input_byte=1.5)
    assert needs.with_inputs({"in": 10}) == Resources(2, 115, 1)
    assert Resources(2, 100, 1).with_inputs({"in": 10**9}) == Resources(2, 100, 1)


def test_a_small_input_takes_fewer_cores() -> None:
    needs = Resources(8, 100, input_bytes_per_cpu=10)
    cpus = {size: needs.with_inputs({"in": size}).cpus for size in (0, 1, 10, 11, 75, 1000)}
    assert cpus == {0: 1, 1: 1, 10: 1, 11: 2, 75: 8, 1000: 8}


def test_one_input_can_be_what_sizes_a_node() -> None:
    needs = Resources(1, 100, memory_per_input_byte=2.0, sized_by="model")
    assert needs.with_inputs({"model": 10, "reference": 10**12}) == Resources(1, 120)


def test_a_head_start_is_in_neither_id_nor_key_and_may_be_missing() -> None:
    model, begun = node("model"), node("begun")
    plain = node("measured", inputs={"model": model})
    ahead = replace(
        plain,
        inputs={"model": model.id, "begun": begun.id},
        runtime=replace(plain.runtime, head_starts=frozenset({"begun"})),
    )
    assert ahead.id == plain.id
    graph = Graph([model, begun, ahead])
    assert graph.downstream(begun.id) == []
    assert graph.downstream(model.id) == [plain.id]
