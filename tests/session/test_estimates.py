from __future__ import annotations

from qpipe.core.outcome import Outcome
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
    unknown = estimates(graph, {}, str(session.store))
    names = {graph[node].stage for node in unknown}
    assert names == {"download"}, "nothing is said of a model before its size is known"
    sources = {n: Outcome(graph[n], "cached", artifacts[n]) for n in graph if not graph[n].inputs}
    known = estimates(graph, sources, str(session.store))
    assert known.keys() == graph.keys() - sources.keys()
    for node, seconds in known.items():
        artifact = artifacts[node]
        assert artifact is not None
        of_kind = [
            a.manifest.usage.seconds
            for a in artifacts.values()
            if a and a.manifest.stage == artifact.manifest.stage
        ]
        assert min(of_kind) <= seconds <= max(of_kind), "the same model: no scaling"
