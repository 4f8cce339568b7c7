from __future__ import annotations

import qpipe
from qpipe.core.store import ArtifactStore
from qpipe.recipe.request import Request
from qpipe.session.context import Context
from qpipe.session.estimates import estimates
from qpipe.session.plans import merged_plan
from tests.session.conftest import Swept


def test_a_run_is_expected_to_take_what_such_nodes_took(swept: Swept) -> None:
    session = swept.session
    context = Context(
        Request(session.recipe, session.overrides, multirun=True),
        store=session.store,
        runs=session.runs,
    )
    graph, store = merged_plan(context).graph, ArtifactStore(session.store)
    artifacts = {node: store.peek(store.key_of(node) or "") for node in graph}
    assert all(artifacts.values())
    unknown = estimates(graph, ended=(), sizes={}, store=str(session.store))
    names = {graph[node].stage for node in unknown}
    assert names == {"download"}, "nothing is said of a model before its size is known"
    assert all(each.seconds and each.memory for each in unknown.values())
    sizes = {n: a.manifest.size for n, a in artifacts.items() if a}
    sources = {node for node in graph if not graph[node].inputs}
    known = estimates(graph, ended=sources, sizes=sizes, store=str(session.store))
    assert known.keys() == graph.keys() - sources
    for node, estimate in known.items():
        artifact = artifacts[node]
        assert artifact is not None
        usages = [
            a.manifest.usage
            for a in artifacts.values()
            if a and a.manifest.stage == artifact.manifest.stage
        ]
        seconds, memory = [u.seconds for u in usages], [u.peak_rss for u in usages]
        assert estimate.seconds is not None and estimate.memory is not None
        assert min(seconds) <= estimate.seconds <= max(seconds), "the same model: no scaling"
        assert 0.5 * min(memory) <= estimate.memory <= 2 * max(memory)


def test_a_plan_says_how_long_what_is_not_cached_would_take(swept: Swept) -> None:
    session = swept.session
    assert not swept.before.seconds, "the store was empty"
    assert not session.plan().seconds, "all is cached"
    other = qpipe.load(
        session.recipe,
        *(word for word in session.overrides if not word.startswith("quantize.type")),
        "quantize.type=Q5_0,Q4_1",
        sweep=True,
        store=session.store,
        runs=session.runs,
    ).plan()
    to_do = {node.name for node in other.nodes if node.state != "cached"}
    assert other.seconds.keys() == to_do
    assert len(to_do) == 4


def test_a_model_of_another_order_tells_nothing(swept: Swept) -> None:
    """Of a model a thousand times as small, starting took the time."""
    session = swept.session
    context = Context(
        Request(session.recipe, session.overrides, multirun=True),
        store=session.store,
        runs=session.runs,
    )
    graph = merged_plan(context).graph
    sizes = dict.fromkeys(graph, 16 << 30)
    known = estimates(graph, ended=(), sizes=sizes, store=str(session.store))
    assert {graph[node].stage for node, e in known.items() if e.seconds} == {"download"}
