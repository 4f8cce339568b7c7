"""gc: by size and age, never what a living or a pinned run uses."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from qpipe.core import file_lock, gc
from qpipe.core.digests import stamp
from qpipe.core.layout import MANIFEST
from qpipe.core.manifest import Manifest, scan
from qpipe.core.store import ArtifactStore
from qpipe.core.worth import Collection
from qpipe.errors import StoreError
from qpipe.machine.filesystem import link
from tests.core.beside import finish, kill, ready, start
from tests.core.synthetic import claimed, key_of, manifest, put

DAY = 86400.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with four artifacts of about 10 kB, used 4, 3, 2 and 1 days ago."""
    store = ArtifactStore(tmp_path / "store")
    for index in range(4):
        made = put(store, index, text="x" * 10_000)
        used = time.time() - (4 - index) * DAY
        os.utime(made.path, (used, used))
    store.close()
    return store.paths.root


def left(root: Path) -> set[str]:
    return set(ArtifactStore(root).all_keys())


def keys(*labels: int) -> set[str]:
    return {key_of(label) for label in labels}


def size_of_one(root: Path) -> int:
    return sum(p.stat().st_size for p in ArtifactStore(root).paths.artifact(key_of(0)).iterdir())


def test_the_least_recently_used_go_first(root: Path) -> None:
    store = ArtifactStore(root)
    store.lookup(key_of(0))
    store.close()
    found = gc.collect(store, max_size=2 * size_of_one(root) + 100)
    assert [c.key for c in found.removed] == [key_of(1), key_of(2)]
    assert left(root) == keys(0, 3)
    assert abs(found.freed - 2 * size_of_one(root)) < 10
    assert found.rebuild_seconds == 4.0


def test_by_age(root: Path) -> None:
    found = gc.collect(ArtifactStore(root), max_age=2.5 * DAY)
    assert {c.key for c in found.removed} == keys(0, 1)
    assert left(root) == keys(2, 3)


def test_by_age_and_size(root: Path) -> None:
    gc.collect(ArtifactStore(root), max_age=3.5 * DAY, max_size=size_of_one(root) + 100)
    assert left(root) == keys(3)


def test_a_dry_run_says_everything_and_changes_nothing(root: Path) -> None:
    (root / "active" / "999999-dead").write_text(key_of(0))
    before = sorted((str(p), p.stat().st_mtime_ns) for p in root.rglob("*"))
    limit = size_of_one(root) + 100
    found = gc.collect(ArtifactStore(root), max_size=limit, dry_run=True)
    assert sorted((str(p), p.stat().st_mtime_ns) for p in root.rglob("*")) == before
    real = gc.collect(ArtifactStore(root), max_size=limit)
    assert found == real
    assert len(real.removed) == 3
    assert real.rebuild_seconds == 6.0


def test_nothing_to_do(root: Path, tmp_path: Path) -> None:
    assert gc.collect(ArtifactStore(root)).removed == []
    assert gc.collect(ArtifactStore(tmp_path / "none"), max_size=0) == Collection([], [])
    assert not (tmp_path / "none").exists()


def test_what_a_living_process_uses_is_spared(root: Path) -> None:
    user = ready(start("use", root, 0, 2))
    found = gc.collect(ArtifactStore(root), max_size=0)
    assert left(root) == keys(0, 2)
    assert {c.spared for c in found.kept} == {f"in use by process {user.pid}"}
    kill(user)  # not even killed does it hold on to them
    gc.collect(ArtifactStore(root), max_size=0)
    assert left(root) == set()
    assert list((root / "active").iterdir()) == []


def test_what_this_process_uses_is_spared_until_it_closes(root: Path) -> None:
    store = ArtifactStore(root)
    store.lookup(key_of(1))
    put(store, "made")
    gc.collect(store, max_size=0)
    assert left(root) == {key_of(1), key_of("made")}
    store.close()
    gc.collect(store, max_size=0)
    assert left(root) == set()


def test_a_verified_artifact_is_in_use(root: Path) -> None:
    store = ArtifactStore(root)
    assert store.verify(key_of(1)) is None
    gc.collect(ArtifactStore(root), max_size=0)
    assert left(root) == keys(1)


def test_pinned_runs(root: Path) -> None:
    store = ArtifactStore(root)
    gc.pin(store, "run-1", keys(0, 1))
    gc.pin(store, "run-2", keys(1))
    (root / "pins" / ".run-3.half").write_text(key_of(3))
    found = gc.collect(store, max_age=0.0)
    assert left(root) == keys(0, 1)
    assert {c.spared for c in found.kept} == {"pinned by run run-1", "pinned by run run-2"}
    gc.unpin(store, "run-1")
    gc.collect(store, max_age=0.0)
    assert left(root) == keys(1)
    gc.unpin(store, "run-2")
    with pytest.raises(StoreError, match="run run-2 is not pinned"):
        gc.unpin(store, "run-2")


def test_half_written_folders_of_the_dead_go_and_those_of_the_living_stay(root: Path) -> None:
    dead, alive = ready(start("hold", root, "dead")), ready(start("hold", root, "alive"))
    kill(dead)
    gc.collect(ArtifactStore(root), max_size=10**9)
    (kept,) = (root / "aside").iterdir()
    assert kept.name.startswith(key_of("alive"))
    finish(alive)
    assert key_of("alive") in left(root)


def test_unfinished_work_is_kept_for_a_day_and_while_it_goes_on(root: Path) -> None:
    store = ArtifactStore(root)
    alive = ready(start("hold", root, "alive"))
    for label in ("old", "young", "alive"):
        folder = store.paths.partial(key_of(label))
        folder.mkdir(parents=True)
        (folder / "chunks").write_text("1")
        if label != "young":
            os.utime(folder, (0, 0))
            os.utime(folder / "chunks", (0, 0))
    gc.collect(store, max_size=10**9)
    left_over = {path.name for path in store.paths.partials.iterdir()}
    assert left_over == {key_of("young"), key_of("alive")}
    finish(alive)


def test_quarantine_is_kept_for_a_day(root: Path) -> None:
    store = ArtifactStore(root)
    for label in (0, 1):
        path = store.paths.manifest(key_of(label))
        path.chmod(0o644)
        path.write_text("{")
    old, young = (store.lookup(key_of(label))[1] for label in (0, 1))
    assert old is not None
    assert young is not None
    assert old.moved_to is not None
    assert young.moved_to is not None
    os.utime(old.moved_to, (0, 0))
    gc.collect(store, max_size=10**9)
    assert not old.moved_to.exists()
    assert young.moved_to.exists()


def test_damaged_artifacts_are_weighed_and_can_go(root: Path) -> None:
    path = ArtifactStore(root).paths.manifest(key_of(0))
    path.chmod(0o644)
    path.write_text("{")
    found = gc.collect(ArtifactStore(root), max_size=0)
    assert "(damaged)" in [c.name for c in found.removed]
    assert left(root) == set()


def test_links_to_the_users_files_free_nothing(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(b"x" * 1_000_000)
    store = ArtifactStore(root)
    claim = claimed(store, key_of("linked"))
    link(source, claim.folder / "model.bin")
    store.commit(claim, manifest(claim.key, scan(claim.folder)))
    store.close()
    found = gc.collect(store, max_size=0)
    assert len(found.removed) == 5
    assert found.freed < 100_000
    assert source.stat().st_size == 1_000_000


def test_the_digest_of_a_users_file_stays_known(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(b"x" * 1_000)
    store = ArtifactStore(root)
    claim = claimed(store, key_of("linked"))
    os.link(source, claim.folder / "model.bin")
    sha256 = store.digests.read(source)
    store.commit(claim, manifest(claim.key, scan(claim.folder)))
    store.close()
    assert gc.collect(store, max_size=0).removed
    assert source.stat().st_nlink == 1
    assert store.digests.lookup(stamp(source.stat())) == sha256


def test_a_file_that_artifacts_share_counts_once_and_goes_with_the_last(root: Path) -> None:
    store = ArtifactStore(root)
    before = sum(c.size for c in gc.collect(store, dry_run=True).kept)
    first = put(store, "first", text="x" * 50_000)
    (original,) = first.manifest.files
    claim = claimed(store, key_of("second"))
    link(first.path / original.path, claim.folder / "same")
    store.commit(claim, manifest(claim.key, scan(claim.folder)))
    store.close()
    both = sum(c.size for c in gc.collect(store, dry_run=True).kept) - before
    assert 50_000 < both < 60_000
    found = gc.collect(store, max_size=before + 40_000, dry_run=True)
    # Four old ones go first, then both holders: the first of these alone would free nothing.
    by_name = {c.key: c.size for c in found.removed}
    assert sum(by_name.values()) == found.freed
    for size in (0, before + both):
        assert gc.collect(store, max_size=size, dry_run=True).freed == before + both - size


def test_artifacts_that_go_away_under_its_eyes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another gc, or a quarantine, is quicker: once while weighing, once while removing."""
    other = ArtifactStore(root)
    load = Manifest.load

    def vanish(folder: Path) -> Manifest:
        if folder.name == key_of(0):
            monkeypatch.undo()
            gc.collect(other, max_age=2.5 * DAY)
        return load(folder)

    monkeypatch.setattr(Manifest, "load", vanish)
    found = gc.collect(ArtifactStore(root), max_size=0)
    assert {c.key for c in found.removed} == keys(2, 3)
    take_out = gc._take_out

    def quicker(store: ArtifactStore, key: str) -> Path | None:
        take_out(store, key)
        return take_out(store, key)

    put(other, "again")
    other.close()
    monkeypatch.setattr(gc, "_take_out", quicker)
    assert gc.collect(ArtifactStore(root), max_size=0).removed == []


def test_gc_beside_runs_breaks_none(tmp_path: Path) -> None:
    """Real processes: some run a graph over and over, some collect all they may."""
    root, stop = tmp_path / "store", tmp_path / "stop"
    collectors = [ready(start("collector", root, 12)) for _ in range(2)]
    runners = [start("runs", root, stop) for _ in range(2)]
    for collector in collectors:
        finish(collector)
    stop.touch()
    done = [int(finish(runner)) for runner in runners]
    assert all(count > 2 for count in done), done
    assert list((root / "aside").iterdir()) == []
    assert not (root / "quarantine").exists()


def test_an_artifact_without_its_manifest(root: Path) -> None:
    folder = ArtifactStore(root).paths.artifact(key_of(0))
    folder.chmod(0o755)
    (folder / MANIFEST).unlink()
    assert len(gc.collect(ArtifactStore(root), max_size=0).removed) == 4


def test_no_look_falls_between_gcs_question_and_its_act(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ArtifactStore(root)
    path = store.paths.gc_lock
    load, take_out, seen = Manifest.load, gc._take_out, list[str]()

    def looking(folder: Path) -> Manifest:
        assert file_lock.acquire(path, wait=False) is None
        seen.append("look")
        assert key_of(0) in next((root / "active").iterdir()).read_text()
        return load(folder)

    def taking(store: ArtifactStore, key: str) -> Path | None:
        assert file_lock.acquire(path, shared=True, wait=False) is None
        seen.append("take")
        return take_out(store, key)

    monkeypatch.setattr(Manifest, "load", looking)
    store.lookup(key_of(0))
    monkeypatch.undo()
    monkeypatch.setattr(gc, "_take_out", taking)
    gc.collect(store, max_size=0)
    assert seen == ["look", "take", "take", "take"]
    assert left(root) == keys(0)


def test_what_somebody_else_made_in_a_shared_store_stays(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = root.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    kept = gc.collect(ArtifactStore(root), max_size=0).kept
    assert {(c.spared or "").startswith("owned by ") for c in kept} == {True}
    monkeypatch.setattr(os, "geteuid", lambda: owner)
    assert left(root) == keys(0, 1, 2, 3)
    gc.collect(ArtifactStore(root), max_size=0)
    assert left(root) == set()


def test_old_notes_of_digests_go(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    put(store, "a")
    (note,) = store.paths.hashes.iterdir()
    gc.collect(store)
    assert note.exists()
    os.utime(note, (0, 0))
    gc.collect(store)
    assert not note.exists()
