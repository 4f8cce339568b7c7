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
    sizes = {n: a.manifest.size for n, a in artifacts.items() if a and not graph[n].inputs}
    sources = {*sizes}
    known = estimates(graph, ended=sources, sizes=sizes, store=str(session.store))
    assert known.keys() == graph.keys() - sources
    for node, seconds in known.items():
        artifact = artifacts[node]
        assert artifact is not None
        of_kind = [
            a.manifest.usage.seconds
            for a in artifacts.values()
            if a and a.manifest.stage == artifact.manifest.stage
        ]
        assert min(of_kind) <= seconds <= max(of_kind), "the same model: no scaling"


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
