"""Real processes that are really killed, and really race."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpipe.core.store import ArtifactStore
from tests.core.actors import parts
from tests.core.beside import finish, kill, ready, start, until
from tests.core.synthetic import claimed, key_of


class Hammers:
    """Processes that make and collect artifacts until they are killed."""

    def __init__(self, root: Path) -> None:
        self._server = ready(start("hammers", root))

    def start(self, seed: int) -> int:
        """The number of one more."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(f"{seed}\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def kill(self, pid: int) -> None:
        """End one that lives, at once."""
        os.kill(pid, signal.SIGKILL)
        until(lambda: not _lives(pid))

    def close(self) -> None:
        """Start no more. What one of them said before its end, if it was an error, is raised."""
        _, errors = self._server.communicate()
        assert not errors


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def hammers(tmp_path: Path) -> Iterator[Hammers]:
    """At work in the folder ``store``."""
    found = Hammers(tmp_path / "store")
    yield found
    found.close()


def hammer_and_kill(hammers: Hammers, root: Path, *, rounds: int) -> None:
    """Two at a time, kill each at a random instant; after each round the store is whole."""
    random.seed(7)
    for number in range(rounds):
        for pid in [hammers.start(number * 10 + n) for n in range(2)]:
            time.sleep(random.uniform(0.0, 0.12))
            hammers.kill(pid)
        check(root)


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


def test_a_process_killed_at_any_instant_leaves_no_false_hit(
    hammers: Hammers, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    hammer_and_kill(hammers, root, rounds=30)
    store = ArtifactStore(root)
    left = [path.name.split(".")[0] for path in store.paths.aside.iterdir()]
    for key in {*left, *(key_of(n) for n in range(12))}:
        claimed(store, key).release()
    assert list(store.paths.aside.iterdir()) == []


@pytest.mark.soak
def test_many_kills(hammers: Hammers, tmp_path: Path) -> None:
    hammer_and_kill(hammers, tmp_path / "store", rounds=1000)


def test_the_killed_left_something_to_clean_up(hammers: Hammers, tmp_path: Path) -> None:
    """So that the test above cannot pass because nothing was ever half-written."""
    root = tmp_path / "store"
    for number in range(40):
        pid = hammers.start(number)
        time.sleep(0.01 + number / 1000)
        hammers.kill(pid)
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
