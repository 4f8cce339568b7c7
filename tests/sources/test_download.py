"""Files of a source in the store: linked, and read again only where nobody knows their bytes."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from qpipe.core.digests import TICK, Digests
from qpipe.core.manifest import FileEntry, scan
from qpipe.errors import SourceError
from qpipe.sources.download import Download, DownloadParams
from qpipe.sources.hub_source import HubSource
from qpipe.sources.pinning import PinnedSource, Pinner
from qpipe.stages.base import Work
from tests.hashed import counted


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def pin(folder: Path) -> PinnedSource:
    def refuse(source: HubSource, last: str | None) -> str:
        raise AssertionError(source)

    return Pinner((folder,), folder.parent / "hashes", {}, refuse).pin(str(folder), None)


def download(pinned: PinnedSource, folder: Path, *, known: bool = True) -> list[FileEntry]:
    """The files of the artifact, once it is confirmed."""
    out = folder / "out"
    out.mkdir()
    params = DownloadParams.model_validate(pinned.params)
    digests = Digests(folder / "hashes") if known else None
    work = Work({}, out, 2, lambda *at: None, pinned.where, digests=digests)
    Download().run(params, work)
    files = scan(out, hashed=work.hashed, threads=2)
    Download.confirm(params, files)
    return files


@pytest.mark.parametrize("known", [True, False])
def test_what_was_pinned_is_not_read_again(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    pinned = pin(checkpoint)
    hashed = counted(monkeypatch)
    files = download(pinned, tmp_path, known=known)
    assert [file.path for file in files] == ["config.json", "model.safetensors"]
    assert files[1].sha256 == hashlib.sha256(b"weights").hexdigest()
    assert sum(hashed.values()) == (0 if known else 9)


def test_a_file_that_changed_after_it_was_pinned_is_not_taken(
    checkpoint: Path, tmp_path: Path
) -> None:
    """Of the size and mtime that it had."""
    weights = checkpoint / "model.safetensors"
    pinned, stat = pin(checkpoint), weights.stat()
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(SourceError, match="changed while the run was under way"):
        download(pinned, tmp_path)


def test_a_file_that_changes_while_it_is_linked_is_not_known(
    checkpoint: Path, tmp_path: Path
) -> None:
    weights, digests = checkpoint / "model.safetensors", Digests(tmp_path / "hashes")
    digests.read(weights)

    def written_to(source: Path, target: Path) -> None:
        time.sleep(TICK)
        os.link(source, target)
        source.write_bytes(b"WEIGHTS")

    assert digests.link(weights, tmp_path / "second", written_to) is None
    assert digests.of(weights) == hashlib.sha256(b"WEIGHTS").hexdigest()
    linked = digests.link(weights, tmp_path / "third")
    assert linked is not None
    assert linked.sha256 == hashlib.sha256(b"WEIGHTS").hexdigest()


def test_links_of_every_kind_are_known(checkpoint: Path, tmp_path: Path) -> None:
    weights, digests = checkpoint / "model.safetensors", Digests(tmp_path / "hashes")
    sha256 = digests.read(weights)

    def cloned(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes())

    def symbolic(source: Path, target: Path) -> None:
        target.symlink_to(source)

    for how in (os.link, symbolic, cloned):
        target = tmp_path / how.__name__
        linked = digests.link(weights, target, how)
        assert linked is not None
        assert linked.sha256 == sha256
        assert linked.stamp[0] == target.stat().st_size
