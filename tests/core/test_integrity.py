"""Artifacts whose bytes are no longer those of their manifests, and those that only look so."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from qpipe.core import descendants, gc
from qpipe.core.digests import Digests, stamp
from qpipe.core.events import Warned
from qpipe.core.executor import WorkItem, WorkOutput
from qpipe.core.graph import Graph
from qpipe.core.layout import MANIFEST
from qpipe.core.manifest import scan
from qpipe.core.store import ArtifactStore
from qpipe.errors import QpipeError, StoreError
from qpipe.machine.filesystem import link
from tests.core.synthetic import InstantExecutor, key_of, node, put, run, write


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files of which the bytes are read."""
    names: list[str] = []
    read = Digests.read

    def counted(self: Digests, path: Path) -> str:
        names.append(path.name)
        return read(self, path)

    monkeypatch.setattr(Digests, "read", counted)
    return names


def flip(path: Path) -> None:
    """Turn a bit in place, with the times put back as far as a program can."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[0] ^= 1
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(data)
    path.chmod(0o444)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_what_was_not_touched_is_not_read(store: ArtifactStore, reads: list[str]) -> None:
    made = put(store, "a")
    assert store.lookup(made.key)[0] is not None
    assert ArtifactStore(store.paths.root).lookup(made.key)[0] is not None
    assert reads == []


def test_a_touched_file_is_read_once(store: ArtifactStore, reads: list[str]) -> None:
    made = put(store, "a")
    os.utime(made.path / "out.txt")
    for _ in range(2):
        assert ArtifactStore(store.paths.root).lookup(made.key)[0] is not None
    assert reads == ["out.txt"]


@pytest.mark.parametrize("linked", [False, True])
def test_a_copy_of_a_store_is_whole(tmp_path: Path, reads: list[str], linked: bool) -> None:
    """As `cp -r` and tar make it: other inodes and times."""
    store = ArtifactStore(tmp_path / "store")
    source = tmp_path / "source.bin"
    source.write_bytes(b"weights")

    def work(job: WorkItem) -> WorkOutput | QpipeError:
        if linked:
            link(source, job.out / "model.bin")
            return WorkOutput(scan(job.out))
        return write(job)

    graph = Graph([node("a")])
    run(graph, store, InstantExecutor(work))
    copy = tmp_path / "copy"
    shutil.copytree(store.paths.root, copy, copy_function=shutil.copyfile)
    for _ in range(2):
        result, events = run(graph, ArtifactStore(copy), InstantExecutor(work))
        assert [o.status for o in result.outcomes.values()] == ["cached"]
        assert not [event for event in events if isinstance(event, Warned)]
    assert len(reads) == 1
    (key,) = ArtifactStore(copy).all_keys()
    assert ArtifactStore(copy).verify(key) is None


def test_hard_links_to_a_file_share_what_is_known_of_it(
    store: ArtifactStore, reads: list[str]
) -> None:
    def work(job: WorkItem) -> WorkOutput | QpipeError:
        if job.inputs:
            link(job.inputs["x"] / "out.txt", job.out / "out.txt")
            return WorkOutput(scan(job.out))
        return write(job)

    a = node("a")
    graph = Graph([a, node("b", inputs={"x": a})])
    for _ in range(2):
        run(graph, ArtifactStore(store.paths.root), InstantExecutor(work))
    assert reads == []


def test_a_flipped_input_is_not_consumed(store: ArtifactStore) -> None:
    a = node("a")
    run(Graph([a]), store)
    artifact = store.peek(a.key({}))
    assert artifact is not None
    flip(artifact.path / "out.txt")

    def work(job: WorkItem) -> WorkOutput | QpipeError:
        if not job.inputs:
            return write(job)
        (job.out / "copy").write_bytes((job.inputs["x"] / "out.txt").read_bytes())
        return WorkOutput(scan(job.out))

    user = node("user", inputs={"x": a})
    result, _ = run(Graph([a, user]), ArtifactStore(store.paths.root), InstantExecutor(work))
    assert [o.status for o in result.outcomes.values()] == ["ran", "ran"]
    made = result.outcomes[user.id].artifact
    assert made is not None
    assert (made.path / "copy").read_text() == "a"


def test_what_was_made_of_a_flipped_input_goes_with_it(store: ArtifactStore) -> None:
    """As a version of qpipe left it that did not look at the times."""
    a = node("a")
    before, after = node("before", inputs={"x": a}), node("after", inputs={"x": a})
    graph = Graph([a, before, after, node("later", inputs={"x": after})])
    run(Graph([a, before]), store)
    artifact = store.peek(a.key({}))
    assert artifact is not None
    flip(artifact.path / "out.txt")
    good = artifact.manifest.files[0].sha256
    store.digests.note(stamp((artifact.path / "out.txt").stat()), good)
    run(graph, store)
    shutil.rmtree(store.paths.hashes)  # all is in doubt now
    result, events = run(graph, ArtifactStore(store.paths.root))
    states = {o.node.name: o.status for o in result.outcomes.values()}
    assert states == {"a": "ran", "before": "cached", "after": "ran", "later": "ran"}
    told = [event.message for event in events if isinstance(event, Warned)]
    assert sum("it was made from" in text for text in told) == 2


def test_verify_takes_what_was_made_of_it_along(store: ArtifactStore) -> None:
    a, other = node("a"), node("other")
    b = node("b", inputs={"x": a})
    run(Graph([a, other, b, node("c", inputs={"x": b, "y": other})]), store)
    artifact = store.peek(a.key({}))
    assert artifact is not None
    flip(artifact.path / "out.txt")
    damage = store.verify(artifact.key)
    assert damage is not None
    along = descendants.set_aside(store, damage)
    assert len(along) == 2
    assert all(one.moved_to is not None for one in along)
    assert list(store.all_keys()) == [other.key({})]


def test_a_damaged_manifest_leaves_what_was_made_of_the_files(store: ArtifactStore) -> None:
    a = node("a")
    b = node("b", inputs={"x": a})
    run(Graph([a, b]), store)
    path = store.paths.manifest(a.key({}))
    path.chmod(0o644)
    path.write_bytes(b"{")
    damage = store.verify(a.key({}))
    assert damage is not None
    assert descendants.set_aside(store, damage) == []
    assert len(list(store.all_keys())) == 1


def test_links_that_lead_back_to_themselves(store: ArtifactStore) -> None:
    whole, inside = put(store, "a"), put(store, "b")
    shutil.rmtree(whole.path)
    whole.path.symlink_to(whole.path)
    inside.path.chmod(0o755)
    (inside.path / "loop").symlink_to("loop")
    for key, words in ((whole.key, "leads back to itself"), (inside.key, "not in its manifest")):
        damage = store.verify(key)
        assert damage is not None
        assert words in damage.problem
        assert damage.moved_to is not None
    assert list(store.all_keys()) == []


def test_gc_takes_a_link_that_leads_back_to_itself(store: ArtifactStore) -> None:
    made = put(store, "a")
    shutil.rmtree(made.path)
    made.path.symlink_to(made.path)
    store.close()
    assert [c.key for c in gc.collect(store, max_age=0).removed] == [made.key]
    assert list(store.all_keys()) == []


def test_half_a_note_is_none(tmp_path: Path) -> None:
    file, notes = tmp_path / "file", Digests(tmp_path / "notes")
    file.write_text("x")
    digest = notes.of(file)
    (note,) = (tmp_path / "notes").iterdir()
    text = note.read_text()
    for end in range(len(text)):
        note.write_text(text[:end])
        assert Digests(tmp_path / "notes").lookup(stamp(file.stat())) is None
    note.write_text(text)
    assert Digests(tmp_path / "notes").lookup(stamp(file.stat())) == digest


def test_the_manifest_is_no_part_of_what_is_compared(store: ArtifactStore) -> None:
    made = put(store, key_of("a"))
    os.utime(made.path / MANIFEST)
    assert store.lookup(made.key)[0] is not None


def test_reading_a_large_file_again_is_told(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = put(store, "a")
    monkeypatch.setattr("qpipe.core.integrity._LARGE", 1)
    told: list[str] = []
    store.lookup(made.key, told.append)
    assert told == []
    os.utime(made.path / "out.txt")
    store.lookup(made.key, told.append)
    assert "out.txt is read again" in told[0]


def test_a_disk_that_gives_no_bytes(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    made = put(store, "a")
    os.utime(made.path / "out.txt")

    def fail(path: Path) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("qpipe.core.digests.file_sha256", fail)
    with pytest.raises(StoreError, match=r"cannot be read: .*Input/output error"):
        store.lookup(made.key)
    assert made.path.exists()
