"""Processes that tests start beside themselves: `python -m tests.core.actors ROLE STORE …`."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from qpipe.core import gc, runner
from qpipe.core.events import Event
from qpipe.core.graph import Graph, Node, Runtime
from qpipe.core.key import Json, bytes_sha256
from qpipe.core.layout import RunPaths
from qpipe.core.manifest import FileEntry
from qpipe.core.store import Artifact, ArtifactStore
from qpipe.errors import InterruptedRunError
from qpipe.executors.local import Capacity, LocalExecutor
from tests.core.synthetic import key_of, manifest, node, put, run, tree
from tests.toys import note


def parts(key: str) -> list[tuple[str, bytes]]:
    """The files that the artifact of a key holds: several, one of them not small."""
    seed = key.encode()
    return [("a.txt", seed), ("sub/b.bin", seed * 3000), ("sub/c.txt", seed[:9])]


def make(store: ArtifactStore, key: str, *, pause: float = 0.0) -> Artifact | None:
    """Make an artifact if nobody else is at it and it is not there."""
    claim = store.claim(key)
    if claim is None:
        return None
    if store.paths.artifact(key).exists():
        claim.release()
        return None
    files = []
    for name, data in parts(key):
        path = claim.folder / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            for start in range(0, len(data), 50_000):
                file.write(data[start : start + 50_000])
        files.append(FileEntry(name, len(data), bytes_sha256(data)))
        time.sleep(pause)
    return store.commit(claim, manifest(key, files))


def obtain(store: ArtifactStore, key: str, calls: str) -> Artifact:
    """Look up or make, waiting for whoever else makes it; each making is noted in ``calls``."""
    while True:
        artifact, _ = store.lookup(key)
        if artifact is not None:
            return artifact
        claim = store.claim(key)
        if claim is None:
            time.sleep(0.002)
        elif store.paths.artifact(key).exists():
            claim.release()
        else:
            note(calls, key)
            data = key.encode()
            (claim.folder / "a.txt").write_bytes(data)
            files = [FileEntry("a.txt", len(data), bytes_sha256(data))]
            return store.commit(claim, manifest(key, files))


def hammer(root: str, seed: str) -> NoReturn:
    """Make artifacts, remove some, look up and make again, until killed."""
    store, pick = ArtifactStore(Path(root)), random.Random(seed)
    while True:
        key = key_of(pick.randrange(12))
        artifact, _ = store.lookup(key)
        if artifact is None:
            make(store, key, pause=pick.choice([0, 0, 0.001]))
        elif pick.random() < 0.3:
            # Make room for more makings: as gc does, a rename out of the artifacts.
            store.close()
            gc.collect(store, max_size=0)


def hammers(root: str) -> None:
    """Fork a `hammer` for each seed that stdin has, and tell its number: no imports for each."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that were killed
    print("ready", flush=True)
    for seed in sys.stdin:
        pid = os.fork()
        if pid == 0:
            hammer(root, seed.strip())
        print(pid, flush=True)


def race(root: str, count: str, calls: str, go: str) -> None:
    """Obtain ``count`` artifacts in an order of one's own, after the start signal."""
    store, keys = ArtifactStore(Path(root)), [key_of(index) for index in range(int(count))]
    random.Random(os.getpid()).shuffle(keys)
    print("ready", flush=True)
    while not Path(go).exists():
        time.sleep(0.001)
    for key in keys:
        artifact = obtain(store, key, calls)
        assert (artifact.path / "a.txt").read_text() == key


def use(root: str, *labels: str) -> None:
    """Look some artifacts up, and live until stdin ends."""
    store = ArtifactStore(Path(root))
    for label in labels:
        artifact, _ = store.lookup(key_of(label))
        assert artifact is not None
    print("ready", flush=True)
    sys.stdin.read()


def hold(root: str, label: str) -> None:
    """Claim an artifact, begin it, and live until stdin ends; then finish it."""
    store = ArtifactStore(Path(root))
    claim = store.claim(key_of(label))
    assert claim is not None
    (claim.folder / "out.txt").write_text(label)
    print("ready", flush=True)
    sys.stdin.read()
    data = label.encode()
    store.commit(claim, manifest(claim.key, [FileEntry("out.txt", len(data), bytes_sha256(data))]))


def collector(root: str, enough: str) -> None:
    """Collect everything that may be collected, until it was ``enough``."""
    store, until = ArtifactStore(Path(root)), time.monotonic() + 50
    print("ready", flush=True)
    removed = 0
    while removed < int(enough):
        assert time.monotonic() < until, f"removed {removed} only"
        removed += len(gc.collect(store, max_size=0).removed)
    print(removed, flush=True)


def runs(root: str, stop: str) -> None:
    """Run a graph over and over until the file ``stop`` is there; every artifact of a run must be
    there, and whole, at its end."""
    count = 0
    graph = tree(12)
    while count < 3 or not Path(stop).exists():
        store = ArtifactStore(Path(root))
        result, _ = run(graph, store)
        assert result.status == "done", result.outcomes
        for outcome in result.outcomes.values():
            assert outcome.artifact is not None
            assert (outcome.artifact.path / "out.txt").read_text() == outcome.node.name
        store.close()
        count += 1
        time.sleep(0.05)  # nobody uses anything: gc's turn
    print(count, flush=True)


def sleepers(root: str, folder: str, seconds: str) -> None:
    """Run one quick node and two that sleep after it, in worker processes."""

    def sleeper(name: str, took: float, inputs: Mapping[str, Node]) -> Node:
        runtime = Runtime("tests.toys:Sleep", where={"pid": f"{folder}/{name}.pid"})
        params: Mapping[str, Json] = {"seconds": took, "text": name}
        return node(name, inputs=inputs, params=params, runtime=runtime)

    quick = sleeper("quick", 0.0, {})
    slow = [sleeper(name, float(seconds), {"x": quick}) for name in ("slow1", "slow2")]
    store = ArtifactStore(Path(root))
    executor = LocalExecutor(RunPaths(Path(folder)), Capacity(cpus=2, memory=None))

    def emit(event: Event) -> None:
        print(type(event).__name__, getattr(event, "status", ""), flush=True)

    try:
        result = runner.run(Graph([quick, *slow]), store=store, executor=executor, emit=emit)
    except InterruptedRunError as error:
        assert not executor.workers
        made = store.peek(quick.key({}))
        assert made is not None
        for other in slow:
            claim = store.claim(other.key({"x": made.manifest.digest}))
            assert claim is not None, "a claim is still held"
            claim.release()
        print(error, flush=True)
        sys.exit(error.exit_code)
    print(result.counts, flush=True)


def fill(root: str, count: str) -> None:
    """Put some artifacts, for tests of other processes' stores."""
    store = ArtifactStore(Path(root))
    for index in range(int(count)):
        put(store, index)


ROLES: dict[str, Callable[..., None]] = {
    role.__name__: role for role in (hammers, race, use, hold, collector, runs, sleepers, fill)
}

if __name__ == "__main__":
    ROLES[sys.argv[1]](*sys.argv[2:])
