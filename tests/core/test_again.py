"""Making again what is in the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qpipe.core.events import MadeAgain, NodeFinished
from qpipe.core.executor import WorkItem, WorkOutput
from qpipe.core.forecast import forecast
from qpipe.core.graph import Graph, Node
from qpipe.core.manifest import Manifest, Usage
from qpipe.core.store import ArtifactStore
from qpipe.errors import CheckpointError, QpipeError
from tests.core.synthetic import InstantExecutor, node, run, write, write_text


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def chain() -> tuple[Node, Node, Node]:
    a = node("a")
    return a, (b := node("b", inputs={"x": a})), node("c", inputs={"x": b})


def writing(text: str) -> InstantExecutor:
    """An executor with which the node b writes this text."""

    def work(job: WorkItem) -> WorkOutput | QpipeError:
        if job.node.name != "b":
            return write(job)
        return WorkOutput(write_text(job.out, text), {"figure": text}, Usage(seconds=9.0))

    return InstantExecutor(work)


def figures(before: Manifest, after: Manifest) -> str:
    old, new = before.facts["figure"], after.facts["figure"]
    return f"figure {old} → {new}" if old != new else ""


def compared(events: list) -> list[tuple[str, str, bool]]:  # type: ignore[type-arg]
    return [(e.name, e.message, e.differs) for e in events if isinstance(e, MadeAgain)]


def test_equal_bytes_leave_what_is_downstream_cached(store: ArtifactStore) -> None:
    a, b, c = chain()
    made, _ = run(Graph([a, b, c]), store, writing("same"))
    before = made.outcomes[b.id].artifact
    assert before is not None
    file = before.path / "out.txt"
    inode = file.stat().st_ino
    executor = writing("same")
    result, events = run(Graph([a, b, c]), store, executor, again={b.id}, compares=figures)
    assert executor.calls == ["b"]
    assert result.counts == {"cached": 2, "ran": 1}
    assert compared(events) == [("b", "as before, byte for byte", False)]
    assert file.stat().st_ino == inode, "whoever reads it meanwhile is not disturbed"
    after = store.peek(before.key)
    assert after is not None
    assert after.manifest.created > before.manifest.created
    assert store.verify(before.key) is None
    assert list(store.paths.aside.iterdir()) == []
    ended = [e.name for e in events if isinstance(e, NodeFinished)]
    assert ended.index("b") < ended.index("c")


def test_other_bytes_are_a_finding_and_what_was_there_is_kept(store: ArtifactStore) -> None:
    a, b, c = chain()
    run(Graph([a, b, c]), store, writing("one"))
    executor = writing("two")
    result, events = run(Graph([a, b, c]), store, executor, again={b.id}, compares=figures)
    assert executor.calls == ["b", "c"], "what is made of other bytes is another thing"
    (kept,) = store.paths.quarantine.iterdir()
    assert (kept / "out.txt").read_text() == "one"
    assert compared(events) == [
        ("b", "other bytes than before under the same key, in out.txt: figure one → two; "
              f"the earlier one is in {kept}", True)
    ]  # fmt: skip
    after = result.outcomes[b.id].artifact
    assert after is not None
    assert (after.path / "out.txt").read_text() == "two"
    assert store.verify(after.key) is None
    _, events = run(Graph([a, b, c]), store, executor)
    assert executor.calls == ["b", "c"]
    assert compared(events) == []


def test_a_failure_leaves_what_is_there(store: ArtifactStore) -> None:
    a, b, c = chain()
    run(Graph([a, b, c]), store, writing("one"))
    failing = InstantExecutor(lambda job: CheckpointError("broke"))
    result, events = run(Graph([a, b, c]), store, failing, again={b.id})
    assert result.counts == {"cached": 1, "failed": 1, "skipped": 1}
    assert compared(events) == []
    executor = InstantExecutor()
    assert run(Graph([a, b, c]), store, executor)[0].counts == {"cached": 3}


def test_what_is_not_there_is_made_once_and_compared_with_nothing(store: ArtifactStore) -> None:
    a, b, c = chain()
    executor = writing("one")
    _, events = run(Graph([a, b, c]), store, executor, again={a.id, b.id, c.id})
    assert executor.calls == ["a", "b", "c"]
    assert compared(events) == []


def test_nodes_that_meet_in_one_key_make_it_again_once(store: ArtifactStore) -> None:
    a = [node(f"a{n}", params={"text": "same", "index": n}) for n in range(3)]
    b = [node(f"b{n}", inputs={"x": a[n]}, params={"text": "b"}) for n in range(3)]
    run(Graph([*a, *b]), store)
    executor = InstantExecutor()
    run(Graph([*a, *b]), store, executor, again={n.id for n in b})
    assert len(executor.calls) == 1


@pytest.mark.parametrize("what", ["lacks", "refuses"])
def test_what_cannot_be_made_again_is_refused_first(what: str, store: ArtifactStore) -> None:
    a, b, c = chain()
    run(Graph([a, b, c]), store)
    ask: dict[str, Callable[[Node], object]] = {
        "lacks": lambda n: "no such engine here" if n.name == "b" else None,
        "refuses": lambda n: CheckpointError("not so") if n.name == "b" else None,
    }
    executor = InstantExecutor()
    result, _ = run(Graph([a, b, c]), store, executor, again={b.id}, **{what: ask[what]})
    assert result.outcomes[b.id].status == "failed"
    assert executor.calls == []


def test_the_forecast_of_what_is_made_again(store: ArtifactStore) -> None:
    a, b, c = chain()
    run(Graph([a, b, c]), store)
    told = {f.node.name: f for f in forecast(Graph([a, b, c]), store, again={b.id})}
    assert (told["a"].state, told["b"].state, told["c"].state) == ("cached", "run", "unknown")
    assert told["b"].why == "in the store, made again as asked for"
    assert told["c"].made_before
