"""Files from the hub against the digests by which its cache calls them."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from qpipe.sources import digest_check
from tests.hashed import counted

DATA = b"some bytes of a file"


def cached(folder: Path, name: str, data: bytes = DATA) -> Path:
    """A file of a snapshot, as huggingface_hub lays it out."""
    blob, file = folder / "blobs" / name, folder / "snapshots" / "c" / "file"
    for path in (blob, file):
        path.parent.mkdir(parents=True)
    blob.write_bytes(data)
    file.symlink_to(f"../../blobs/{name}")
    return file


def git_name(data: bytes) -> str:
    asked = ["git", "hash-object", "--stdin"]
    return (
        subprocess.run(asked, input=data, capture_output=True, check=True).stdout.decode().strip()
    )


@pytest.mark.parametrize("name", [hashlib.sha256(DATA).hexdigest(), git_name(DATA)])
def test_a_file_is_what_its_blob_is_called(tmp_path: Path, name: str) -> None:
    file = cached(tmp_path / "good", name)
    assert digest_check.named(file) == name
    assert digest_check.digests(file, name) == (hashlib.sha256(DATA).hexdigest(), None)
    bad = cached(tmp_path / "bad", name, DATA[:-1] + b"\0")
    assert f"the hub names {name}" in str(digest_check.digests(bad, digest_check.named(bad))[1])
    digest_check.discard(bad)
    assert not [path for path in (tmp_path / "bad").rglob("*") if not path.is_dir()]


@pytest.mark.parametrize(
    ("name", "known", "reads"),
    [
        (hashlib.sha256(DATA).hexdigest(), False, 1),
        (hashlib.sha256(DATA).hexdigest(), True, 0),
        (git_name(DATA), False, 1),
        (git_name(DATA), True, 1),
        (None, True, 0),
    ],
)
def test_a_file_is_read_once_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None, known: bool, reads: int
) -> None:
    file = cached(tmp_path, name or "blob")
    hashed, sha256 = counted(monkeypatch), hashlib.sha256(DATA).hexdigest()
    assert digest_check.digests(file, name, sha256 if known else None) == (sha256, None)
    assert sum(hashed.values()) == reads * len(DATA)


@pytest.mark.parametrize("name", ["d41d8cd98f00b204e9800998ecf8427e", "x" * 40, "Z" * 64])
def test_other_names_tell_nothing(tmp_path: Path, name: str) -> None:
    assert digest_check.named(cached(tmp_path, name)) is None
    assert digest_check.digests(cached(tmp_path / "b", name), None)[1] is None


def test_a_cache_without_links_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    assert digest_check.named(tmp_path / "file") is None
    digest_check.discard(tmp_path / "file")
    assert not (tmp_path / "file").exists()
