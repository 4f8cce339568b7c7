"""The runner: each node once, failures, waiting, interrupts, early cut-off, damage."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from qpipe.core import runner
from qpipe.core.events import (
    AFTER_FAILURE,
    DISK_FULL,
    FORESEEN,
    Event,
    NodeFinished,
    NodeProgress,
    NodeStarted,
    NodeWaiting,
    RunFinished,
    RunStarted,
    Warned,
    fan_out,
)
from qpipe.core.executor import WorkEnd, WorkItem, WorkOutput, WorkProgress
from qpipe.core.forecast import forecast
from qpipe.core.graph import Graph, Node, Resources, Runtime
from qpipe.core.manifest import scan
from qpipe.core.outcome import RunResult
from qpipe.core.store import ArtifactStore
from qpipe.errors import (
    CheckpointError,
    EngineMissingError,
    InterruptedRunError,
    OutOfSpaceError,
    QpipeError,
    RecipeError,
    StoreError,
)
from qpipe.machine.filesystem import link, remove_tree
from tests.core.beside import finish, kill, ready, start, until
from tests.core.synthetic import InstantExecutor, claimed, key_of, node, run, tree, write


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def by_name(result: RunResult) -> Mapping[str, str]:
    return {o.node.name: o.status for o in result.outcomes.values()}


def diamond() -> tuple[Node, Node, Node, Node]:
    a = node("a")
    b, c = node("b", inputs={"x": a}), node("c", inputs={"x": a})
    return a, b, c, node("d", inputs={"x": b, "y": c})


def failing(*names: str) -> InstantExecutor:
    def work(job: WorkItem) -> WorkOutput | QpipeError:
        return CheckpointError(f"{job.node.name} broke") if job.node.name in names else write(job)

    return InstantExecutor(work)


def test_each_node_runs_once_after_its_inputs(store: ArtifactStore) -> None:
    executor = InstantExecutor()
    graph = tree(200)
    result, events = run(graph, store, executor)
    assert result.status == "done"
    assert result.counts == {"ran": 200}
    assert sorted(executor.calls) == sorted(n.name for n in graph.values())
    order = {name: position for position, name in enumerate(executor.calls)}
    for n in graph.values():
        assert all(order[graph[source].name] < order[n.name] for source in n.inputs.values())
    assert isinstance(events[0], RunStarted)
    last = events[-1]
    assert isinstance(last, RunFinished)
    assert (last.status, last.counts) == ("done", {"ran": 200})
    assert list(result.outcomes) == list(graph)


def test_a_second_run_is_all_cached(store: ArtifactStore) -> None:
    run(tree(50), store)
    executor = InstantExecutor()
    result, events = run(tree(50), store, executor)
    assert result.counts == {"cached": 50}
    assert executor.calls == []
    ends = [e for e in events if isinstance(e, NodeFinished)]
    assert all(e.seconds == 1.5 and e.artifact for e in ends)


def test_an_empty_graph(store: ArtifactStore) -> None:
    result, _ = run(Graph(), store)
    assert (result.status, result.counts) == ("done", {})


def test_the_manifest_says_what_came_from_where(store: ArtifactStore) -> None:
    a, b, _, d = diamond()
    result, _ = run(Graph(diamond()), store)
    made = result.outcomes[d.id].artifact
    source = result.outcomes[b.id].artifact
    assert made is not None
    assert source is not None
    assert made.manifest.inputs["x"] == {
        "key": source.key, "digest": source.manifest.digest, "name": "b",
    }  # fmt: skip
    assert made.manifest.params == {"text": "d"}
    assert made.manifest.id == d.id
    assert store.key_of(a.id) == a.key({})


def test_a_failure_skips_what_needs_it_and_keep_going_does_the_rest(store: ArtifactStore) -> None:
    lone = [node(f"lone{index}") for index in range(3)]
    result, events = run(Graph([*diamond(), *lone]), store, failing("b"), keep_going=True)
    assert by_name(result) == {
        "a": "ran", "b": "failed", "c": "ran", "d": "skipped",
        "lone0": "ran", "lone1": "ran", "lone2": "ran",
    }  # fmt: skip
    assert result.status == "failed"
    ends = {e.name: e for e in events if isinstance(e, NodeFinished)}
    assert ends["b"].error == "b broke"
    assert ends["d"].error == "b"
    assert isinstance(result.outcomes[diamond()[1].id].error, CheckpointError)


def test_without_keep_going_nothing_new_starts_but_hits_are_hits(store: ArtifactStore) -> None:
    a = node("a")
    cached = node("cached")
    run(Graph([cached]), store)
    later = [node(f"later{index}") for index in range(5)]
    below = node("below", inputs={"x": later[-1], "y": cached})
    executor = failing("a")
    executor.room = 1
    result, events = run(Graph([a, cached, *later, below]), store, executor)
    assert by_name(result) == {"a": "failed", "cached": "cached"} | {
        n.name: "skipped" for n in (*later, below)
    }
    ends = {e.name: e.error for e in events if isinstance(e, NodeFinished)}
    assert ends["below"] == ends["later0"] == AFTER_FAILURE
    assert executor.calls == ["a"]


def test_what_already_runs_is_finished_and_kept(store: ArtifactStore) -> None:
    executor = failing("a")
    result, _ = run(Graph([node("a"), node("b"), node("c")]), store, executor)
    assert by_name(result) == {"a": "failed", "b": "ran", "c": "ran"}


def test_what_can_never_run_here_fails_with_the_reason(store: ArtifactStore) -> None:
    n = node("n", runtime=Runtime("x:y", Resources(gpus=2)))
    result, _ = run(Graph([n]), store)
    error = result.outcomes[n.id].error
    assert isinstance(error, EngineMissingError)
    assert str(error) == "n: it needs 2 GPUs"


def test_a_full_disk_ends_the_run_and_is_said_once(store: ArtifactStore) -> None:
    """Whatever else goes on after a failure: all that is left would fail likewise."""
    full, lone = ("full0", "full1"), [node(f"lone{n}") for n in range(3)]
    nodes = [*(node(name) for name in full), *lone, node("small", inputs={"x": lone[2]})]

    def work(job: WorkItem) -> WorkOutput | QpipeError:
        return OutOfSpaceError("no room") if job.node.name in full else write(job)

    asked: list[Sequence[Node]] = []

    def shortage(left: Sequence[Node]) -> str:
        asked.append(left)
        return f"; {len(left)} are left"

    executor = InstantExecutor(work, room=2)
    result, events = run(Graph(nodes), store, executor, keep_going=True, shortage=shortage)
    assert executor.calls == ["full0", "full1"]
    assert by_name(result) == {"full0": "failed"} | {
        n.name: "skipped" for n in nodes if n.name != "full0"
    }
    assert [str(o.error) for o in result.outcomes.values() if o.error] == ["no room; 6 are left"]
    assert len(asked) == 1
    ends = {e.name: e.error for e in events if isinstance(e, NodeFinished)}
    assert ends["full1"] == ends["small"] == DISK_FULL
    result, _ = run(Graph(nodes), store)
    assert result.status == "done"


def lacking(name: str) -> Callable[[Node], str | None]:
    return lambda node: "no such engine here" if node.name == name else None


@pytest.mark.parametrize("keep_going", [False, True])
def test_what_cannot_run_here_is_refused_before_anything_starts(
    store: ArtifactStore, keep_going: bool
) -> None:
    executor = InstantExecutor()
    result, events = run(
        Graph(diamond()), store, executor, keep_going=keep_going, lacks=lacking("b")
    )
    assert by_name(result) == (
        {"a": "ran", "b": "failed", "c": "ran", "d": "skipped"}
        if keep_going
        else {"a": "skipped", "b": "failed", "c": "skipped", "d": "skipped"}
    )
    assert executor.calls == (["a", "c"] if keep_going else [])
    first = next(e for e in events if isinstance(e, NodeFinished))
    assert (first.name, first.error) == ("b", "b: no such engine here")


def test_what_would_fail_is_refused_before_anything_starts(store: ArtifactStore) -> None:
    executor, error = InstantExecutor(), RecipeError("no such groups")
    result, _ = run(
        Graph(diamond()), store, executor, refuses=lambda n: error if n.name == "b" else None
    )
    assert by_name(result) == {"a": "skipped", "b": "failed", "c": "skipped", "d": "skipped"}
    assert executor.calls == []
    assert result.outcomes[diamond()[1].id].error is error


def test_what_is_cached_is_refused_for_a_setting_that_is_in_no_key(store: ArtifactStore) -> None:
    made = node("n")
    run(Graph([made]), store, InstantExecutor())
    strict = node("n", runtime=Runtime(entry="tests.toys:Write", asides={"fallback": "refuse"}))
    assert strict.id == made.id
    executor, error = InstantExecutor(), RecipeError("not so")
    for each, status in ((made, "cached"), (strict, "failed")):
        result, _ = run(Graph([each]), store, executor, refuses=lambda n: error)
        assert by_name(result) == {"n": status}
    assert executor.calls == []


@pytest.mark.parametrize(("keep_going", "leave_out"), [(True, False), (False, True)])
def test_a_foreseen_failure_stops_a_run_unless_it_may_be_left_out(
    store: ArtifactStore, keep_going: bool, leave_out: bool
) -> None:
    executor, error = InstantExecutor(), RecipeError("no such groups")
    _, events = run(
        Graph(diamond()), store, executor, keep_going=keep_going, leave_out=leave_out,
        refuses=lambda n: error if n.name == "b" else None,
    )  # fmt: skip
    assert executor.calls == (["a", "c"] if leave_out else [])
    ends = {e.name: e.error for e in events if isinstance(e, NodeFinished)}
    assert ends["b"] == "no such groups"
    assert ends["d"] == "b"
    assert (ends["a"], ends["c"]) == ((None, None) if leave_out else (FORESEEN, FORESEEN))


def test_what_was_made_before_is_not_refused(store: ArtifactStore) -> None:
    a, b, c, d = diamond()
    run(Graph([a, b, c, d]), store)
    remove_tree(store.paths.artifact(a.key({})))
    result, _ = run(Graph([a, b, c, d]), store, lacks=lacking("b"))
    assert by_name(result) == {"a": "ran", "b": "cached", "c": "cached", "d": "cached"}
    (item,) = [f for f in forecast(Graph([a, b, c, d]), store) if f.node.name == "b"]
    assert item.state == "cached"


def test_an_executor_that_cannot_start_a_job_fails_its_node(store: ArtifactStore) -> None:
    class Broken(InstantExecutor):
        def submit(self, *jobs: WorkItem) -> Sequence[str | None]:
            if jobs[0].node.name == "b":
                raise EngineMissingError("no such interpreter")
            return super().submit(*jobs)

    result, _ = run(Graph(diamond()), store, Broken(), keep_going=True)
    assert by_name(result) == {"a": "ran", "b": "failed", "c": "ran", "d": "skipped"}
    claimed(store, diamond()[1].key({"x": "?"})).release()
    assert list(store.paths.aside.iterdir()) == []


def test_a_commit_that_fails_fails_its_node(store: ArtifactStore) -> None:
    def work(job: WorkItem) -> WorkOutput | QpipeError:
        output = write(job)
        if job.node.name == "b":
            (job.out / "out.txt").unlink()
        return output

    result, _ = run(Graph(diamond()), store, InstantExecutor(work), keep_going=True)
    assert by_name(result) == {"a": "ran", "b": "failed", "c": "ran", "d": "skipped"}


def test_progress_is_passed_on(store: ArtifactStore) -> None:
    class Telling(InstantExecutor):
        def wait(self, timeout: float) -> list[WorkEnd | WorkProgress]:
            told = [WorkProgress(job, 1, 2, "bytes", "half") for job in self.jobs]
            return [*told, *super().wait(timeout)]

    _, events = run(Graph([node("a")]), store, Telling())
    kinds = [type(event) for event in events]
    assert kinds == [RunStarted, NodeStarted, NodeProgress, NodeFinished, RunFinished]
    told = next(e for e in events if isinstance(e, NodeProgress))
    assert (told.done, told.total, told.unit, told.note) == (1, 2, "bytes", "half")


def test_events_are_data(store: ArtifactStore) -> None:
    _, events = run(Graph(diamond()), store, failing("b"))
    heard: list[Event] = []
    for event in events:
        fan_out([heard.append, heard.append])(event)
        assert json.loads(json.dumps(event.record()))["event"] == type(event).__name__
    assert len(heard) == 2 * len(events)


# -- early cut-off --------------------------------------------------------------------------------


def test_a_change_that_comes_out_the_same_leaves_downstream_cached(store: ArtifactStore) -> None:
    def chain(note: str, text: str) -> Graph:
        a = node("a", params={"text": text, "note": note})
        return Graph([a, b := node("b", inputs={"x": a}), node("c", inputs={"x": b})])

    run(chain("one", "same"), store)
    executor = InstantExecutor()
    result, _ = run(chain("two", "same"), store, executor)
    assert by_name(result) == {"a": "ran", "b": "cached", "c": "cached"}
    assert executor.calls == ["a"]
    ids = [n.id for n in chain("two", "same").values()]
    assert all(store.key_of(i) for i in ids)  # the new ids are known from now on
    result, _ = run(chain("three", "other"), store)
    assert by_name(result) == {"a": "ran", "b": "ran", "c": "cached"}


def test_two_nodes_that_meet_in_one_key_make_it_once(store: ArtifactStore) -> None:
    """Different ways to the same bytes, in one graph: the second waits for the first."""
    a = [node(f"a{index}", params={"text": "same", "index": index}) for index in range(4)]
    b = [node(f"b{index}", inputs={"x": a[index]}, params={"text": "b"}) for index in range(4)]
    executor = InstantExecutor()
    result, events = run(Graph([*a, *b]), store, executor)
    assert result.status == "done"
    assert [name[0] for name in executor.calls] == ["a"] * 4 + ["b"]
    assert result.counts == {"ran": 5, "cached": 3}
    assert not any(isinstance(e, NodeWaiting) for e in events)  # nobody else makes it


# -- damage ---------------------------------------------------------------------------------------


def damage(path: Path) -> None:
    path.chmod(0o644)
    path.write_text("{")


def test_a_corrupt_manifest_is_rebuilt_with_a_warning(store: ArtifactStore) -> None:
    run(Graph(diamond()), store)
    a = diamond()[0]
    damage(store.paths.manifest(a.key({})))
    executor = InstantExecutor()
    result, events = run(Graph(diamond()), store, executor)
    assert executor.calls == ["a"]
    assert result.counts == {"ran": 1, "cached": 3}
    warnings = [e.message for e in events if isinstance(e, Warned)]
    assert len(warnings) == 1
    assert "the manifest is damaged" in warnings[0]
    assert "quarantine" in warnings[0]


def test_after_verify_only_the_damaged_artifact_is_rebuilt(store: ArtifactStore) -> None:
    result, _ = run(Graph(diamond()), store)
    made = result.outcomes[diamond()[2].id].artifact
    assert made is not None
    file = made.path / "out.txt"
    file.chmod(0o644)
    file.write_text("C")
    assert [k for k in store.all_keys() if store.verify(k)] == [made.key]
    executor = InstantExecutor()
    result, _ = run(Graph(diamond()), store, executor)
    assert executor.calls == ["c"]
    assert all(store.verify(key) is None for key in store.all_keys())


@pytest.mark.parametrize("outcome", ["works", "fails"])
def test_an_input_that_changes_under_way_spoils_what_was_made_of_it(
    store: ArtifactStore, tmp_path: Path, outcome: str
) -> None:
    """A user's file, linked into the store, is overwritten while a node reads it."""
    source = tmp_path / "model.bin"
    source.write_bytes(b"weights")

    def work(job: WorkItem) -> WorkOutput | QpipeError:
        if job.node.name == "download":
            link(source, job.out / "model.bin")
            return WorkOutput(scan(job.out))
        if changing:
            source.write_bytes(b"WEIGHTS")
            if outcome == "fails":
                return CheckpointError("these are no weights")
        return write(job)

    changing = True
    download = node("download")
    graph = Graph([download, node("convert", inputs={"x": download})])
    result, _ = run(graph, store, InstantExecutor(work))
    assert by_name(result) == {"download": "ran", "convert": "failed"}
    error = list(result.outcomes.values())[1].error
    assert isinstance(error, StoreError)
    assert "changed while it was in use: model.bin has SHA-256" in str(error)
    changing = False
    result, _ = run(graph, store, InstantExecutor(work))
    assert by_name(result) == {"download": "ran", "convert": "ran"}


# -- other processes ------------------------------------------------------------------------------


def held_node(store: ArtifactStore) -> tuple[Node, str]:
    """A node whose key the actor `hold` claims."""
    n = node("n")
    return n, n.key({})


def test_waiting_for_another_process_and_taking_what_it_made(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ready(start("hold", store.paths.root, "n"))
    monkeypatch.setattr(Node, "key", lambda self, digests: key_of(self.name))
    executor = InstantExecutor()
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, NodeWaiting):
            assert other.stdin is not None
            other.stdin.close()

    result = runner.run(Graph([node("n")]), store=store, executor=executor, emit=emit)
    assert result.counts == {"cached": 1}
    assert executor.calls == []
    assert sum(isinstance(e, NodeWaiting) for e in events) == 1
    assert other.wait(10) == 0
    for stream in (other.stdout, other.stderr):
        assert stream is not None
        stream.close()


def test_taking_over_from_a_process_that_was_killed(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ready(start("hold", store.paths.root, "n"))
    monkeypatch.setattr(Node, "key", lambda self, digests: key_of(self.name))

    def emit(event: Event) -> None:
        if isinstance(event, NodeWaiting):
            kill(other)

    executor = InstantExecutor()
    result = runner.run(Graph([node("n")]), store=store, executor=executor, emit=emit)
    assert result.counts == {"ran": 1}
    assert executor.calls == ["n"]


def test_after_a_failure_nobody_is_waited_for(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ready(start("hold", store.paths.root, "n"))
    monkeypatch.setattr(Node, "key", lambda self, digests: key_of(self.name))
    result, _ = run(Graph([node("n"), node("bad")]), store, failing("bad"))
    assert by_name(result) == {"n": "skipped", "bad": "failed"}
    finish(other)


def test_a_claim_that_fails_while_waiting_ends_the_waiting(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([None])

    def claim(key: str) -> None:
        try:
            return next(answers)
        except StopIteration:
            raise StoreError("the store cannot be written") from None

    monkeypatch.setattr(store, "claim", claim)
    result, _ = run(Graph([node("n")]), store)
    assert by_name(result) == {"n": "failed"}


def test_made_by_another_between_lookup_and_claim(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, other = store.claim, ArtifactStore(store.paths.root)

    def late(key: str):  # type: ignore[no-untyped-def]
        monkeypatch.undo()
        run(Graph([node("n")]), other)
        return claim(key)

    monkeypatch.setattr(store, "claim", late)
    executor = InstantExecutor()
    result, _ = run(Graph([node("n")]), store, executor)
    assert result.counts == {"cached": 1}
    assert executor.calls == []


# -- stopping -------------------------------------------------------------------------------------


def test_an_interrupt_keeps_what_is_finished_and_holds_nothing(store: ArtifactStore) -> None:
    class Interrupted(InstantExecutor):
        def wait(self, timeout: float) -> list[WorkEnd | WorkProgress]:
            if any(job.node.name == "d" for job in self.jobs):
                raise KeyboardInterrupt
            return list(super().wait(timeout))

    executor = Interrupted()
    events: list[Event] = []
    with pytest.raises(InterruptedRunError, match="finished work is kept"):
        runner.run(Graph(diamond()), store=store, executor=executor, emit=events.append)
    assert executor.cancelled
    last = events[-1]
    assert isinstance(last, RunFinished)
    assert (last.status, last.counts) == ("interrupted", {"ran": 3})
    assert list(store.paths.aside.iterdir()) == []
    again = InstantExecutor()
    result, _ = run(Graph(diamond()), store, again)
    assert again.calls == ["d"]
    assert result.status == "done"


def test_our_own_mistakes_stop_the_workers_too(store: ArtifactStore) -> None:
    class Broken(InstantExecutor):
        def wait(self, timeout: float) -> list[WorkEnd | WorkProgress]:
            raise ZeroDivisionError

        def cancel(self) -> None:
            super().cancel()
            raise KeyboardInterrupt  # a second Ctrl-C, while workers are stopped

    executor = Broken()
    with pytest.raises(KeyboardInterrupt):
        run(Graph([node("a")]), store, executor)
    claimed(store, node("a").key({})).release()

    class Wrong(InstantExecutor):
        def wait(self, timeout: float) -> list[WorkEnd | WorkProgress]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(Graph([node("a")]), store, Wrong())
    claimed(store, node("a").key({})).release()


def pid_in(path: Path) -> int | None:
    return int(path.read_text()) if path.exists() and path.read_text() else None


def alive(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_ctrl_c_on_a_real_run_with_real_workers(tmp_path: Path) -> None:
    root, folder = tmp_path / "store", tmp_path / "run"
    folder.mkdir()
    process = start("sleepers", root, folder, 60)
    pids = [folder / "slow1.pid", folder / "slow2.pid"]
    until(lambda: all(pid_in(path) for path in pids))
    workers = [pid_in(path) for path in pids]
    process.send_signal(signal.SIGINT)
    out = finish(process, code=130)
    assert "NodeFinished ran" in out
    assert "RunFinished interrupted" in out
    assert "the same command goes on from there" in out
    assert not any(alive(pid) for pid in workers if pid)
    assert list((root / "aside").iterdir()) == []
    assert "{'cached': 1, 'ran': 2}" in finish(start("sleepers", root, folder, 0))


def test_workers_of_a_killed_run_end_and_hold_their_locks_until_then(tmp_path: Path) -> None:
    root, folder = tmp_path / "store", tmp_path / "run"
    folder.mkdir()
    process = start("sleepers", root, folder, 60)
    pids = [folder / "slow1.pid", folder / "slow2.pid"]
    until(lambda: all(pid_in(path) for path in pids))
    workers = [pid for path in pids if (pid := pid_in(path))]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)  # so that we can look before they notice
    kill(process)
    store = ArtifactStore(root)
    keys = [path.name.split(".")[0] for path in store.paths.aside.iterdir()]
    assert len(keys) == 2
    assert [store.claim(key) for key in keys] == [None, None]
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    begun = time.monotonic()
    until(lambda: not any(alive(pid) for pid in workers), seconds=5)
    assert time.monotonic() - begun < 5
    for key in keys:
        claimed(store, key).release()
    assert list(store.paths.aside.iterdir()) == []


def test_a_node_does_without_what_is_dispensable_to_it(store: ArtifactStore) -> None:
    a, b = node("a"), node("b")
    runtime = Runtime(entry="tests.toys:Write", dispensable=frozenset({"x"}))
    sum_ = node("sum", inputs={"x": a, "y": b}, runtime=runtime)
    after = node("after", inputs={"x": sum_})
    graph = Graph([a, b, sum_, after])
    result, _ = run(graph, store, failing("a"), keep_going=True)
    assert by_name(result) == {"a": "failed", "b": "ran", "sum": "ran", "after": "ran"}
    made = result.outcomes[sum_.id].artifact
    assert made is not None
    assert list(made.manifest.inputs) == ["y"]
    assert made.key == sum_.key({"y": made.manifest.inputs["y"]["digest"]})
    # Once it is there, the node is made with it: that is another key.
    again, _ = run(graph, store, keep_going=True)
    assert by_name(again) == {"a": "ran", "b": "cached", "sum": "ran", "after": "cached"}
    # What it cannot do without is another matter.
    other = node("other", inputs={"x": node("c"), "y": node("d")}, runtime=runtime)
    failed, _ = run(Graph([node("c"), node("d"), other]), store, failing("d"), keep_going=True)
    assert by_name(failed) == {"c": "ran", "d": "failed", "other": "skipped"}
