"""rm: one artifact, a run's folder, old runs; never what is in use or pinned."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path

import pytest

from qpipe.core import gc
from qpipe.core.digests import stamp
from qpipe.core.store import ArtifactStore
from qpipe.errors import StoreError, UsageError
from qpipe.session import removal
from tests.cli import Answer, qpipe
from tests.commands.stores import ended, make, path_of


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    make(tmp_path / "store", "model")
    return ArtifactStore(tmp_path / "store")


def rm(folder: Path, *words: str) -> Answer:
    places = ("--store", str(folder / "store"), "--runs", str(folder / "runs"))
    return qpipe("rm", *words, *places, cwd=folder)


def test_an_artifact_by_the_beginning_of_its_key(store: ArtifactStore, tmp_path: Path) -> None:
    other = make(tmp_path / "store", "other")
    (key,) = set(store.all_keys()) - {other}
    dry = rm(tmp_path, key[:8], "--dry-run")
    assert dry.stdout.startswith(f"would remove {key[:12]}  quantize[model], ")
    assert len([*store.all_keys()]) == 2
    document = json.loads(rm(tmp_path, key[:8], "--json").stdout)
    assert (document["schema"], [a["key"] for a in document["artifacts"]]) == ("qpipe.rm/1", [key])
    assert [*store.all_keys()] == [other]


def test_a_runs_folder_whose_model_stays_known(store: ArtifactStore, tmp_path: Path) -> None:
    (key,) = store.all_keys()
    file = path_of(tmp_path / "store", key) / "model.gguf"
    paths = ended(tmp_path, "one", days=1)
    (paths.root / "models").mkdir()
    sha256 = store.digests.of(file)
    store.digests.link(file, paths.root / "models" / "tiny.gguf")
    before = file.stat().st_ctime_ns
    time.sleep(0.02)
    answer = rm(tmp_path, "latest")
    assert answer.code == 0
    assert str(paths.root) in answer.stdout
    assert not paths.root.exists()
    assert file.stat().st_ctime_ns != before
    assert ArtifactStore(tmp_path / "store").digests.lookup(stamp(file.stat())) == sha256


def test_what_is_pinned_or_used_is_refused_and_nothing_goes(
    store: ArtifactStore, tmp_path: Path
) -> None:
    (key,) = store.all_keys()
    free, paths = make(tmp_path / "store", "free"), ended(tmp_path, "one", days=1)
    gc.pin(store, "one", [key])
    for name, way in ((key[:9], "pinned by run one"), ("one", "`qpipe unpin one`")):
        answer = rm(tmp_path, free[:9], name)
        assert answer.code == 1
        assert way in answer.stderr
    gc.unpin(store, "one")
    store.lookup(key)
    with pytest.raises(StoreError, match=f"in use by process {os.getpid()}"):
        removal.named([key], store=ArtifactStore(tmp_path / "store"), runs=tmp_path / "runs")
    with paths.events.open() as events:
        fcntl.flock(events, fcntl.LOCK_EX)
        assert "still running" in rm(tmp_path, "one").stderr
    assert paths.root.exists()
    assert {*store.all_keys()} == {key, free}


def test_what_is_neither(store: ArtifactStore, tmp_path: Path) -> None:
    for name in ("", "xyz", "../store"):
        with pytest.raises(UsageError, match="neither a run"):
            removal.named([name], store=store, runs=tmp_path / "runs")
    assert rm(tmp_path).code == rm(tmp_path, "a", "--runs-older-than", "3d").code == 2


def test_old_runs_but_for_pinned_and_running_ones(store: ArtifactStore, tmp_path: Path) -> None:
    for name, days in (("old", 40), ("pinned", 40), ("living", 40), ("new", 1)):
        ended(tmp_path, name, days=days)
    gc.pin(store, "pinned", store.all_keys())
    with (tmp_path / "runs" / "living" / "events.jsonl").open() as events:
        fcntl.flock(events, fcntl.LOCK_EX)
        document = json.loads(rm(tmp_path, "--runs-older-than", "30d", "--json").stdout)
    assert [run["run"] for run in document["runs"]] == ["old"]
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"pinned", "living", "new"}
