"""Forecasts: hits, misses and why, without running; and what differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qpipe.core.forecast import forecast, nearest_cached
from qpipe.core.graph import Graph, Node
from qpipe.core.store import ArtifactStore
from tests.core.synthetic import node, run


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def chain(*, text: str = "b") -> tuple[Node, Node, Node]:
    a = node("a")
    b = node("b", inputs={"x": a}, params={"text": text, "opt": {"bits": 4}})
    return a, b, node("c", inputs={"x": b})


def states(graph: Graph, store: ArtifactStore) -> list[str]:
    return [f.state for f in forecast(graph, store)]


def test_nothing_is_there(store: ArtifactStore) -> None:
    found = forecast(Graph(chain()), store)
    assert [f.state for f in found] == ["run", "unknown", "unknown"]
    assert found[0].key == chain()[0].key({})
    assert found[1].why == "unknown until a has run"
    assert not store.paths.root.exists()


def test_all_is_there_and_nothing_is_written(store: ArtifactStore) -> None:
    run(Graph(chain()), store)
    store.close()
    before = sorted((str(p), p.stat().st_mtime_ns) for p in store.paths.root.rglob("*"))
    found = forecast(Graph(chain()), store)
    assert [f.state for f in found] == ["cached"] * 3
    assert all(f.artifact for f in found)
    assert sorted((str(p), p.stat().st_mtime_ns) for p in store.paths.root.rglob("*")) == before


def test_a_change_in_the_middle(store: ArtifactStore) -> None:
    run(Graph(chain()), store)
    assert states(Graph(chain(text="other")), store) == ["cached", "run", "unknown"]


def test_what_was_made_before_may_be_cached_once_its_inputs_are(store: ArtifactStore) -> None:
    run(Graph(chain()), store)
    manifest = store.paths.manifest(chain()[0].key({}))
    manifest.chmod(0o644)
    manifest.write_text("{")
    found = forecast(Graph(chain()), store)
    assert [f.state for f in found] == ["run", "unknown", "unknown"]
    assert "damaged in the store, made again" in found[0].why
    assert found[1].why == "unknown until a has run; cached if that comes out as it did before"


def test_of_equally_near_ones_that_which_was_made_for_the_same(store: ArtifactStore) -> None:
    made = [replace(node(f"level[{m}]"), made_for=m) for m in "abcd"]
    run(Graph(made), store)
    for name in "abcd":
        changed = replace(node("level"), made_for=name)
        found = nearest_cached(changed, {}, store)
        assert found is not None and found[0].facts["made_for"] == name


def test_the_nearest_cached_and_what_differs(store: ArtifactStore) -> None:
    assert nearest_cached(chain()[1], {}, store) is None
    result, _ = run(Graph([*chain(), chain(text="far")[1]]), store)
    a, b, c = chain()
    digests = {n.name: o.artifact.manifest.digest for n in (a, b, c)
               if (o := result.outcomes[n.id]).artifact}  # fmt: skip
    changed = replace(b, params={"text": "b", "opt": {"bits": 3, "new": True}}, version=2)
    found = nearest_cached(changed, {"x": digests["a"]}, store)
    assert found is not None
    manifest, differences = found
    assert manifest.name == "b"
    assert [(d.field, d.here, d.there) for d in differences] == [
        ("version", 2, 1),
        ("params.opt.bits", 3, 4),
        ("params.opt.new", True, None),
    ]
    unmade = nearest_cached(c, {}, store)
    assert unmade is not None
    assert unmade[1][-1].here == "(not made yet)"
    path = store.paths.manifest(manifest.key)
    path.chmod(0o644)
    path.write_text("{")
    again = nearest_cached(changed, {"x": digests["a"]}, store)
    assert again is not None
    assert again[0].key != manifest.key
    assert nearest_cached(replace(b, stage="other"), {}, store) is None
