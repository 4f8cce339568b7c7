"""Disks that are full, and stores that cannot be written: real file systems, mounted here."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from qpipe.core import gc
from qpipe.core.executor import WorkItem, WorkOutput
from qpipe.core.graph import Graph
from qpipe.core.manifest import scan
from qpipe.core.store import ArtifactStore
from qpipe.errors import OutOfSpaceError, QpipeError, StoreError
from qpipe.machine import filesystem
from tests.core.synthetic import InstantExecutor, claimed, key_of, manifest, node, put, run

SmallDisk = Callable[[str], Path]


def fill(path: Path) -> None:
    """Leave no byte of room on a disk."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC


def remount(folder: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)


def test_a_full_disk_then_room(small_disk: SmallDisk) -> None:
    disk = small_disk("3m")
    store = ArtifactStore(disk / "store")
    sizes = {"a": 1 << 20, "b": 1 << 20, "c": 2 << 20}

    def work(job: WorkItem) -> WorkOutput | QpipeError:
        path = job.out / "big.bin"
        try:
            path.write_bytes(b"x" * sizes[job.node.name])
        except OSError as error:
            return store.explain(error)
        return WorkOutput(scan(job.out))

    a = node("a")
    b = node("b", inputs={"x": a})
    graph = Graph([a, b, node("c", inputs={"x": b})])
    result, _ = run(graph, store, InstantExecutor(work))
    assert [o.status for o in result.outcomes.values()] == ["ran", "ran", "failed"]
    error = list(result.outcomes.values())[2].error
    assert isinstance(error, OutOfSpaceError)
    assert str(store.paths.root) in str(error)
    assert "qpipe gc --max-size" in str(error)
    assert list(store.paths.aside.iterdir()) == []
    sizes["c"] = 100
    executor = InstantExecutor(work)
    result, _ = run(graph, store, executor)
    assert [o.status for o in result.outcomes.values()] == ["cached", "cached", "ran"]
    assert executor.calls == ["c"]


def test_a_disk_with_no_room_for_a_manifest(small_disk: SmallDisk) -> None:
    disk = small_disk("1m")
    store = ArtifactStore(disk / "store")
    put(store, "first")
    claim = claimed(store, key_of("a"))
    (claim.folder / "f").write_bytes(b"x")
    files = scan(claim.folder)
    fill(disk / "ballast")
    with pytest.raises(OutOfSpaceError, match="is full"):
        store.commit(claim, manifest(claim.key, files))
    assert list(store.paths.aside.iterdir()) == []
    assert store.peek(claim.key) is None
    (disk / "ballast").unlink()
    put(store, "a")


def test_a_full_disk_still_serves_and_can_be_emptied(small_disk: SmallDisk) -> None:
    disk = small_disk("1m")
    root = disk / "store"
    store = ArtifactStore(root)
    keys = [put(store, index, text="x" * 5000).key for index in range(20)]
    store.close()
    fill(disk / "ballast")
    assert all(store.peek(key) for key in keys)
    assert len(gc.collect(store, max_size=0).removed) == 20
    put(store, "new")


def test_a_note_that_does_not_fit_is_no_lookup(small_disk: SmallDisk) -> None:
    """gc would not know of the use."""
    disk = small_disk("1m")
    store = ArtifactStore(disk / "store")
    made = put(store, "a")
    store.close()
    fill(disk / "ballast")
    with pytest.raises(OutOfSpaceError):
        store.lookup(made.key)
    (disk / "ballast").unlink()
    assert store.lookup(made.key)[0] is not None
    assert gc.collect(ArtifactStore(disk / "store"), max_size=0).removed == []


def test_half_a_note_does_not_spoil_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ArtifactStore(tmp_path)
    made = put(store, "a")
    store.close()
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:20]))
    with pytest.raises(OutOfSpaceError):
        store.lookup(made.key)
    monkeypatch.undo()
    assert store.lookup(made.key)[0] is not None
    assert gc.collect(ArtifactStore(tmp_path), max_size=0).removed == []


def test_a_store_on_a_read_only_disk(small_disk: SmallDisk) -> None:
    disk = small_disk("2m")
    graph = Graph([node("a"), node("b")])
    first = ArtifactStore(disk / "store")
    run(graph, first)
    first.close()
    remount(disk, "ro")
    store = ArtifactStore(disk / "store")
    executor = InstantExecutor()
    result, _events = run(Graph([*graph.values(), node("new")]), store, executor, keep_going=True)
    assert [o.status for o in result.outcomes.values()] == ["cached", "cached", "failed"]
    error = list(result.outcomes.values())[2].error
    assert isinstance(error, StoreError)
    assert "cannot be written (Read-only file system)" in str(error)
    assert "--store" in str(error)
    assert executor.calls == []
    key = graph[next(iter(graph))].key({})
    assert store.verify(key) is None
    with pytest.raises(StoreError, match="cannot be written"):
        gc.collect(store, max_size=0)
    assert len(gc.collect(store, max_size=0, dry_run=True).removed) == 2
    with pytest.raises(StoreError, match="cannot be written"):
        gc.pin(store, "run", [key])


def test_damage_in_a_store_that_cannot_be_written_fails_its_node_alone(
    small_disk: SmallDisk,
) -> None:
    disk = small_disk("2m")
    store = ArtifactStore(disk / "store")
    run(Graph([node("a"), node("b")]), store)
    path = store.paths.manifest(node("a").key({}))
    path.chmod(0o644)
    path.write_text("{")
    store.close()
    remount(disk, "ro")
    result, _ = run(Graph([node("a"), node("b")]), ArtifactStore(disk / "store"), keep_going=True)
    assert [o.status for o in result.outcomes.values()] == ["failed", "cached"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_sync_that_fails_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A disk may take the bytes and find out only later that it cannot keep them."""
    store = ArtifactStore(tmp_path)
    claim = claimed(store, key_of("a"))
    (claim.folder / "f").write_bytes(b"x")
    files = scan(claim.folder)
    real = os.fsync

    def fsync(fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("/f"):  # noqa: PTH115
            raise OSError(code, os.strerror(code))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    expected = OutOfSpaceError if code == errno.ENOSPC else StoreError
    with pytest.raises(expected):
        store.commit(claim, manifest(claim.key, files))
    assert store.peek(claim.key) is None
    assert list(store.paths.aside.iterdir()) == []


def test_everything_that_was_sealed_is_synced_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ArtifactStore(tmp_path)
    claim = claimed(store, key_of("a"))
    (claim.folder / "sub").mkdir()
    (claim.folder / "sub" / "f").write_bytes(b"x")
    files = scan(claim.folder)
    synced: list[str] = []

    def spy(paths: Sequence[Path]) -> Mapping[Path, OSError]:
        synced.extend(str(path.relative_to(tmp_path)) for path in paths)
        assert all(path.exists() for path in paths)
        return filesystem.sync_all(paths)

    monkeypatch.setattr("qpipe.core.store.sync_all", spy)
    store.commit(claim, manifest(claim.key, files))
    aside = f"aside/{claim.folder.name}"
    final = f"artifacts/{claim.key[:2]}"
    assert sorted(synced[:4]) == [aside, f"{aside}/manifest.json", f"{aside}/sub", f"{aside}/sub/f"]
    store.close()
    assert synced[4:] == [final]


def test_a_file_system_that_cannot_sync_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(fd: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fsync)
    assert filesystem.sync_all([tmp_path]) == {}


def test_syncing_what_is_not_there(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    failed = filesystem.sync_all([tmp_path, gone])
    assert list(failed) == [gone]
    assert failed[gone].filename == str(gone)


def test_a_slow_disk_is_waited_for_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads share the wait, and none of their errors is lost."""
    paths = [tmp_path / str(index) for index in range(40)]
    for path in paths[:-1]:
        path.touch()
    monkeypatch.setattr(os, "fsync", lambda fd: time.sleep(0.02))
    begun = time.monotonic()
    assert list(filesystem.sync_all(paths)) == [paths[-1]]
    assert time.monotonic() - begun < 0.5 * 39 * 0.02


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS answers whose lock daemon does not run."""
    key = put(ArtifactStore(tmp_path), "a").key

    def none_left(fd: int, mode: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none_left)
    for use in (ArtifactStore(tmp_path).claim, ArtifactStore(tmp_path).lookup):
        with pytest.raises(StoreError, match=r"cannot be locked .* local disk with --store"):
            use(key)
