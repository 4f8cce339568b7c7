"""Real processes that are really killed, and really race."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from qpipe.core.store import ArtifactStore
from tests.core.actors import parts
from tests.core.beside import finish, kill, ready, start, until
from tests.core.synthetic import claimed, key_of


def hammer_and_kill(root: Path, *, rounds: int, at_once: int) -> int:
    """Let processes make and collect artifacts, kill each at a random instant; how many did."""
    random.seed(7)
    killed = 0
    for number in range(rounds):
        actors = [ready(start("hammer", root, number * 10 + n)) for n in range(at_once)]
        for actor in actors:
            time.sleep(random.uniform(0.0, 0.12))
            assert actor.poll() is None, actor.communicate()[1]
            actor.send_signal(signal.SIGKILL)
            actor.communicate()
            killed += actor.returncode == -signal.SIGKILL
        check(root)
    return killed


def check(root: Path) -> None:
    """Everything that the store shows is whole, whatever was killed."""
    store = ArtifactStore(root)
    for key in list(store.all_keys()):
        assert store.verify(key) is None, key
        artifact = store.peek(key)
        assert artifact is not None
        for name, data in parts(key):
            assert (artifact.path / name).read_bytes() == data
    assert not list(store.paths.root.glob("quarantine/*"))
    store.close()


def test_a_process_killed_at_any_instant_leaves_no_false_hit(tmp_path: Path) -> None:
    """Twelve processes; `make soak` kills ten times as many."""
    root = tmp_path / "store"
    assert hammer_and_kill(root, rounds=6, at_once=2) == 12
    store = ArtifactStore(root)
    left = [path.name.split(".")[0] for path in store.paths.aside.iterdir()]
    for key in {*left, *(key_of(n) for n in range(12))}:
        claimed(store, key).release()
    assert list(store.paths.aside.iterdir()) == []


@pytest.mark.soak
def test_many_kills(tmp_path: Path) -> None:
    assert hammer_and_kill(tmp_path / "store", rounds=60, at_once=2) == 120


def test_the_killed_left_something_to_clean_up(tmp_path: Path) -> None:
    """So that the test above cannot pass because nothing was ever half-written."""
    root = tmp_path / "store"
    for number in range(40):
        actor = ready(start("hammer", root, number))
        time.sleep(0.01 + number / 1000)
        kill(actor)
        store = ArtifactStore(root)
        left = list(store.paths.aside.iterdir()) if store.paths.aside.exists() else []
        if left:
            key = left[0].name.split(".")[0]
            claimed(store, key).release()
            assert not [path for path in store.paths.aside.iterdir() if path.name.startswith(key)]
            return
    pytest.fail("no kill met a half-written folder")


def test_processes_that_race_make_each_artifact_once(tmp_path: Path) -> None:
    root, calls, go = tmp_path / "store", tmp_path / "calls", tmp_path / "go"
    count = 60
    actors = [ready(start("race", root, count, calls, go)) for _ in range(5)]
    go.touch()
    for actor in actors:
        finish(actor)
    made = Counter(calls.read_text().split())
    assert made == dict.fromkeys((key_of(n) for n in range(count)), 1)
    store = ArtifactStore(root)
    assert all(store.verify(key) is None for key in store.all_keys())
    assert list(store.paths.aside.iterdir()) == []


def test_a_racer_that_is_killed_is_replaced(tmp_path: Path) -> None:
    root, calls, go = tmp_path / "store", tmp_path / "calls", tmp_path / "go"
    actors = [ready(start("race", root, 200, calls, go)) for _ in range(3)]
    go.touch()
    until(calls.exists)
    kill(actors[0])
    for actor in actors[1:]:
        finish(actor)
    # The one that was killed may have begun one artifact that somebody else then made.
    assert len(calls.read_text().split()) in (200, 201)
    assert len(set(ArtifactStore(root).all_keys())) == 200


def test_a_claims_descriptor_is_not_inherited(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "store")
    claim = claimed(store, key_of("a"))
    store.lookup(key_of("b"))
    child = subprocess.Popen(["sleep", "30"], close_fds=False)
    try:
        claim.release()
        claimed(store, key_of("a")).release()  # would be taken if the child had the lock
    finally:
        child.kill()
        child.wait()
