"""The store: claim, commit, lookup, damage, verify."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from qpipe.core import file_lock
from qpipe.core.key import bytes_sha256
from qpipe.core.layout import MANIFEST
from qpipe.core.manifest import FileEntry, Manifest, scan
from qpipe.core.store import Artifact, ArtifactStore
from qpipe.errors import StageError, StoreError
from qpipe.machine.filesystem import link, remove_tree
from tests.core.beside import finish, ready, start
from tests.core.synthetic import claimed, key_of, manifest, put, write_text


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def rewrite(path: Path, data: bytes) -> None:
    """Damage a read-only file in place, its mtime kept, as a bad disk would."""
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    path.chmod(0o444)


def test_a_store_that_was_never_written_to(store: ArtifactStore) -> None:
    assert store.peek(key_of("a")) is None
    assert list(store.all_keys()) == []
    assert store.key_of("ab" * 32) is None
    assert not store.paths.root.exists()


def test_commit_and_lookup(store: ArtifactStore) -> None:
    made = put(store, "a", text="hello")
    found, damage = store.lookup(key_of("a"))
    assert damage is None
    assert found is not None
    assert found.manifest == made.manifest
    assert (found.path / "out.txt").read_text() == "hello"
    assert found.manifest.size == 5
    assert found.key == key_of("a")
    assert list(store.all_keys()) == [key_of("a")]
    assert store.key_of(made.manifest.id) == key_of("a")
    assert list(store.paths.aside.iterdir()) == []


def test_an_artifact_is_read_only(store: ArtifactStore) -> None:
    claim = claimed(store, key_of("a"))
    (claim.folder / "sub").mkdir()
    (claim.folder / "sub" / "f").write_text("x")
    made = store.commit(claim, manifest(claim.key, scan(claim.folder)))
    for path in [made.path, *made.path.rglob("*")]:
        assert not path.stat().st_mode & 0o222, path


def test_the_manifest_lists_what_went_in(store: ArtifactStore) -> None:
    made = put(store, "a", text="hello")
    document = json.loads((made.path / MANIFEST).read_text())
    assert document["key"] == key_of("a")
    assert document["files"] == [
        {"path": "out.txt", "size": 5, "sha256": bytes_sha256(b"hello"), "mtime_ns": None}
    ]
    assert document["usage"]["seconds"] == 2.0
    assert document["digest"] == made.manifest.digest


def test_a_released_claim_leaves_nothing(store: ArtifactStore) -> None:
    claim = claimed(store, key_of("a"))
    (claim.folder / "deep").mkdir()
    (claim.folder / "deep" / "f").write_text("x")
    (claim.folder / "deep").chmod(0o555)
    claim.release()
    claim.release()  # once more does nothing, above all not close somebody's descriptor
    assert not claim.folder.exists()
    claimed(store, key_of("a")).release()


def test_a_claim_is_exclusive_even_within_a_process(store: ArtifactStore) -> None:
    claim = claimed(store, key_of("a"))
    assert store.claim(key_of("a")) is None
    assert ArtifactStore(store.paths.root).claim(key_of("a")) is None
    claim.release()
    claimed(store, key_of("a")).release()


def test_a_commit_of_other_files_than_listed_is_refused(store: ArtifactStore) -> None:
    claim = claimed(store, key_of("a"))
    files = write_text(claim.folder, "hello")
    (claim.folder / "out.txt").write_text("hello again")
    with pytest.raises(StoreError, match=r"out\.txt has 11 bytes, not 5"):
        store.commit(claim, manifest(claim.key, files))
    assert store.peek(claim.key) is None
    assert not claim.folder.exists()
    claimed(store, claim.key).release()


def test_a_manifest_of_another_key_is_our_own_mistake(store: ArtifactStore) -> None:
    claim = claimed(store, key_of("a"))
    with pytest.raises(ValueError, match="a manifest of"):
        store.commit(claim, manifest(key_of("b"), write_text(claim.folder, "x")))
    assert not claim.folder.exists()


def test_several_commits_at_once_fail_one_by_one(store: ArtifactStore) -> None:
    claims = [claimed(store, key_of(index)) for index in range(3)]
    files = [write_text(claim.folder, claim.key) for claim in claims]
    (claims[1].folder / "out.txt").unlink()
    results = store.commit_all(
        [(c, manifest(c.key, f)) for c, f in zip(claims, files, strict=True)]
    )
    assert [type(result) for result in results] == [Artifact, StoreError, Artifact]
    assert [store.peek(key_of(i)) is not None for i in range(3)] == [True, False, True]


def test_a_node_id_that_remembers_rubbish_is_forgotten(store: ArtifactStore) -> None:
    made = put(store, "a")
    for rubbish in (b"", b"\0" * 64, b"../../../etc", b"\xff\xfe"):
        store.paths.node(made.manifest.id).write_bytes(rubbish)
        assert store.key_of(made.manifest.id) is None
    store.remember(made.manifest.id, made.key)
    assert store.key_of(made.manifest.id) == made.key


def test_strange_files_in_the_store_are_no_artifacts(store: ArtifactStore) -> None:
    put(store, "a")
    (store.paths.artifacts / ".DS_Store").write_text("")
    (store.paths.artifact(key_of("a")).parent / "notes.txt").write_text("")
    assert list(store.all_keys()) == [key_of("a")]


def test_find_by_prefix(store: ArtifactStore) -> None:
    keys = sorted(put(store, index).key for index in range(40))
    assert store.find(keys[7]) == keys[7]
    shared = next(k[0] for k in keys if sum(o.startswith(k[0]) for o in keys) > 1)
    with pytest.raises(StoreError, match="give more digits"):
        store.find(shared)
    with pytest.raises(StoreError, match="begins with 'zz'"):
        store.find("zz")


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    at = data.index(b'"seconds": 2.0')
    return data[: at + 11] + b"9" + data[at + 12 :]


@pytest.mark.parametrize(
    "damage",
    [
        truncated,
        flipped,
        lambda _: b"",
        lambda _: b"[]",
        lambda _: b'"text"',
        lambda _: b'{"qpipe": 1}',
        lambda _: b"\xff\xfe\x00",
        lambda _: b"[" * 100_000,
        lambda data: data.replace(b'"stage"', b'"stag"'),
        lambda data: data.replace(b'"sha256": "', b'"sha256": 1, "x": "', 1),
        lambda data: data.replace(b'"size": 1', b'"size": 7'),
        lambda data: data.replace(key_of("a").encode(), key_of("b").encode()),
    ],
)
def test_a_corrupt_manifest_is_quarantined(store: ArtifactStore, damage) -> None:  # type: ignore[no-untyped-def]
    made = put(store, "a", text="x")
    rewrite(made.path / MANIFEST, damage((made.path / MANIFEST).read_bytes()))
    with pytest.raises(StoreError):
        store.peek(made.key)
    found, report = store.lookup(made.key)
    assert found is None
    assert report is not None
    assert report.moved_to is not None
    assert MANIFEST in report.problem
    assert report.moved_to.parent == store.paths.quarantine
    assert (report.moved_to / "out.txt").read_text() == "x"
    assert store.peek(made.key) is None
    assert put(store, "a", text="x").manifest.digest == made.manifest.digest


def test_an_artifact_under_another_ones_key_is_damage(store: ArtifactStore) -> None:
    made = put(store, "a")
    wrong = store.paths.artifact(key_of("b"))
    wrong.parent.mkdir(parents=True, exist_ok=True)
    made.path.chmod(0o755)
    made.path.rename(wrong)
    found, damage = store.lookup(key_of("b"))
    assert found is None
    assert damage is not None
    assert "is that of" in damage.problem


def test_a_manifest_of_another_schema_is_left_alone(store: ArtifactStore) -> None:
    made = put(store, "a")
    data = (made.path / MANIFEST).read_bytes().replace(b'"qpipe": 1', b'"qpipe": 2')
    rewrite(made.path / MANIFEST, data)
    with pytest.raises(StoreError, match="manifest schema 2, this one reads 1"):
        store.lookup(made.key)
    assert made.path.is_dir()


def test_a_manifest_that_is_a_folder_or_gone(store: ArtifactStore) -> None:
    for label in ("folder", "gone"):
        made = put(store, label)
        made.path.chmod(0o755)
        (made.path / MANIFEST).unlink()
        if label == "folder":
            (made.path / MANIFEST).mkdir()
        assert store.lookup(made.key)[1] is not None
        assert store.peek(made.key) is None


def test_a_file_in_the_place_of_an_artifact(store: ArtifactStore) -> None:
    path = store.paths.artifact(key_of("a"))
    path.parent.mkdir(parents=True)
    path.write_text("what")
    found, damage = store.lookup(key_of("a"))
    assert found is None
    assert damage is not None
    assert not path.exists()


def test_an_unreadable_manifest_is_no_damage(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = put(store, "a")

    def fail(path: Path) -> object:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("qpipe.core.manifest.open_regular", fail)
    with pytest.raises(StoreError, match=r"cannot be read \(Too many open files\)"):
        store.lookup(made.key)
    monkeypatch.undo()
    assert store.peek(made.key) is not None


@pytest.mark.parametrize("change", ["missing", "shorter"])
def test_a_lookup_notices_files_that_are_gone_or_cut(store: ArtifactStore, change: str) -> None:
    made = put(store, "a", text="hello")
    made.path.chmod(0o755)
    if change == "missing":
        (made.path / "out.txt").unlink()
    else:
        rewrite(made.path / "out.txt", b"hell")
    found, damage = store.lookup(made.key)
    assert found is None
    assert damage is not None
    assert "out.txt" in damage.problem


def test_verify_finds_a_flipped_byte(store: ArtifactStore) -> None:
    made, other = put(store, "a", text="hello"), put(store, "b")
    assert store.verify(made.key) is None
    rewrite(made.path / "out.txt", b"hellp")
    damage = store.verify(made.key)
    assert damage is not None
    assert "out.txt has SHA-256" in damage.problem
    assert damage.moved_to is not None
    assert store.peek(made.key) is None
    assert store.verify(other.key) is None


def test_verify_finds_what_is_not_listed(store: ArtifactStore) -> None:
    made = put(store, "a")
    made.path.chmod(0o755)
    (made.path / "extra").write_text("x")
    damage = store.verify(made.key)
    assert damage is not None
    assert "extra is in the artifact but not in its manifest" in damage.problem


def test_verify_of_a_damaged_manifest_and_of_nothing(store: ArtifactStore) -> None:
    made = put(store, "a")
    rewrite(made.path / MANIFEST, b"{")
    assert store.verify(made.key) is not None
    with pytest.raises(StoreError, match="there is no artifact"):
        store.verify(made.key)


def test_verify_says_what_cannot_be_read(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = put(store, "a")

    def fail(path: Path) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("qpipe.core.digests.file_sha256", fail)
    with pytest.raises(StoreError, match="Input/output error"):
        store.verify(made.key)
    assert made.path.exists()


def test_a_good_artifact_put_in_the_place_of_the_damaged_one_stays(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our look and our move, another process quarantines the damaged one and rebuilds."""
    made = put(store, "a", text="hello")
    rewrite(made.path / MANIFEST, b"{")
    load = Manifest.load
    other = ArtifactStore(store.paths.root)

    def slow(folder: Path) -> Manifest:
        try:
            return load(folder)
        finally:
            monkeypatch.undo()
            other.lookup(made.key)
            put(other, "a", text="hello")

    monkeypatch.setattr(Manifest, "load", slow)
    found, damage = store.lookup(made.key)
    assert found is None
    assert damage is not None
    assert damage.moved_to is None
    assert store.lookup(made.key)[0] is not None


def test_damage_that_another_process_is_at_is_left_to_it(store: ArtifactStore) -> None:
    made = put(store, "a")
    rewrite(made.path / MANIFEST, b"{")
    fd = file_lock.acquire(store.paths.lock(made.key))
    assert fd is not None
    damage = store.lookup(made.key)[1]
    os.close(fd)
    assert damage is not None
    assert damage.moved_to is None
    assert made.path.exists()


# -- files linked in ------------------------------------------------------------------------------


def linked(store: ArtifactStore, source: Path) -> Artifact:
    claim = claimed(store, key_of("linked"))
    link(source, claim.folder / "model.bin")
    return store.commit(claim, manifest(claim.key, scan(claim.folder)))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "user" / "model.bin"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    path.chmod(0o664)
    return path


def test_a_hard_link_shares_the_bytes_and_leaves_the_users_file_alone(
    store: ArtifactStore, source: Path
) -> None:
    made = linked(store, source)
    assert made.manifest.files[0].mtime_ns == source.stat().st_mtime_ns
    assert (made.path / "model.bin").samefile(source)
    assert stat.S_IMODE(source.stat().st_mode) == 0o664
    remove_tree(made.path)
    assert source.read_bytes() == b"weights"
    assert stat.S_IMODE(source.stat().st_mode) == 0o664


def test_a_source_that_is_overwritten_in_place_is_noticed(
    store: ArtifactStore, source: Path
) -> None:
    made = linked(store, source)
    assert store.lookup(made.key)[0] is not None
    source.write_bytes(b"WEIGHTS")  # same size, at once
    found, damage = store.lookup(made.key)
    assert found is None
    assert damage is not None
    assert "model.bin has SHA-256" in damage.problem
    assert source.read_bytes() == b"WEIGHTS"


def test_a_source_that_its_user_replaces_or_removes_stays_in_the_store(
    store: ArtifactStore, source: Path
) -> None:
    made = linked(store, source)
    source.unlink()
    source.write_bytes(b"other")
    assert store.lookup(made.key)[0] is not None
    assert store.verify(made.key) is None
    assert (made.path / "model.bin").read_bytes() == b"weights"


def test_a_source_on_another_disk_is_linked_by_name(  # type: ignore[no-untyped-def]
    store: ArtifactStore, source: Path, small_disk
) -> None:
    far = small_disk("2m") / "far.bin"
    far.write_bytes(b"weights")
    far.chmod(0o664)
    made = linked(store, far)
    assert (made.path / "model.bin").is_symlink()
    assert stat.S_IMODE(far.stat().st_mode) == 0o664
    far.write_bytes(b"WEIGHTS")
    assert store.lookup(made.key)[1] is not None


def test_a_commit_notices_a_source_that_changed_while_it_was_hashed(
    store: ArtifactStore, source: Path
) -> None:
    claim = claimed(store, key_of("a"))
    link(source, claim.folder / "model.bin")
    files = scan(claim.folder)
    source.write_bytes(b"WEIGHTS")
    with pytest.raises(StoreError, match="the stage's output changed under way: model"):
        store.commit(claim, manifest(claim.key, files))


def test_links_within_the_output_are_its_own_files(store: ArtifactStore) -> None:
    claim = claimed(store, key_of("a"))
    (claim.folder / "a").write_text("x")
    (claim.folder / "b").hardlink_to(claim.folder / "a")
    (claim.folder / "c").symlink_to("a")
    files = scan(claim.folder)
    assert [(f.path, f.mtime_ns is None) for f in files] == [("a", True), ("b", True), ("c", False)]
    made = store.commit(claim, manifest(claim.key, files))
    assert (made.path / "c").read_text() == "x"
    assert store.verify(made.key) is None


def test_what_cannot_be_in_an_artifact_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir()

    def broken(out: Path) -> None:
        (out / "x").symlink_to(tmp_path / "nowhere")

    def folder(out: Path) -> None:
        (out / "x").symlink_to(target)

    def pipe(out: Path) -> None:
        os.mkfifo(out / "x")

    def own_name(out: Path) -> None:
        (out / MANIFEST).write_text("{}")

    def absolute(out: Path) -> None:
        (out / "y").write_text("")
        (out / "x").symlink_to(out / "y")

    for number, (make, words) in enumerate(
        [(broken, "neither"), (folder, "neither"), (pipe, "neither"), (own_name, "belongs"),
         (absolute, "absolute link")]
    ):  # fmt: skip
        out = tmp_path / f"out{number}"
        out.mkdir()
        make(out)
        with pytest.raises(StageError, match=words):
            scan(out)


def test_names_that_are_not_unicode(store: ArtifactStore) -> None:
    claim = claimed(store, key_of("a"))
    name = os.fsdecode(b"caf\xe9.bin")
    (claim.folder / name).write_text("x")
    made = store.commit(claim, manifest(claim.key, scan(claim.folder)))
    found = store.lookup(made.key)[0]
    assert found is not None
    assert found.manifest.files[0].path == name


# -- other processes ------------------------------------------------------------------------------


def test_the_right_to_make_goes_with_the_process(store: ArtifactStore) -> None:
    other = ready(start("hold", store.paths.root, "a"))
    assert store.claim(key_of("a")) is None
    (half,) = store.paths.aside.iterdir()
    other.kill()
    other.communicate()
    claim = claimed(store, key_of("a"))
    assert not half.exists()
    assert list(store.paths.aside.iterdir()) == [claim.folder]
    claim.release()


def test_what_the_other_process_finishes_is_a_hit(store: ArtifactStore) -> None:
    other = ready(start("hold", store.paths.root, "a"))
    assert store.lookup(key_of("a")) == (None, None)
    finish(other)
    found = store.lookup(key_of("a"))[0]
    assert found is not None
    assert (found.path / "out.txt").read_text() == "a"


def test_removing_beside_another_remover(tmp_path: Path) -> None:
    remove_tree(tmp_path / "never there")
    file = tmp_path / "file"
    file.write_text("")
    remove_tree(file)
    assert not file.exists()


def test_file_entries_know_their_record() -> None:
    entry = FileEntry("a", 1, "ab", 5)
    assert FileEntry(**entry.record()) == entry  # type: ignore[arg-type]


def test_what_is_not_read_does_not_count() -> None:
    """Nor does the name of a file that is alone."""
    weights, terms = FileEntry("model.bin", 1, "ab"), FileEntry("LICENSE.txt", 2, "cd")
    both = manifest(key_of("a"), [terms, weights])
    alone = manifest(key_of("a"), [weights])
    assert both.digest_but(("LICENSE*",)) == alone.digest == alone.digest_but(())
    assert both.digest_but(()) == both.digest != alone.digest
    only_terms = manifest(key_of("a"), [terms])
    assert only_terms.digest_but(("LICENSE*",)) == only_terms.digest

    def text(name: str) -> str:
        return manifest(key_of("a"), [FileEntry(name, 1, "ab")]).digest_but((), nameless=True)

    assert text("a.txt") == text("other.v2.txt") != text("a.jsonl")
    assert text("a.jsonl.gz") == text("b.jsonl.gz") != text("a.gz")
    assert both.digest_but((), nameless=True) == both.digest
