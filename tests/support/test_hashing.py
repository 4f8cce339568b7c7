"""SHA-256 of files, by bytes that are there and by those that are being written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from qpipe.support import hashing
from qpipe.support.hashing import Behind, Sealed

DATA = bytes(range(256)) * 10_000


def test_a_file_is_read_once_for_all_that_it_is_hashed_by(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    beside = hashlib.sha1(b"head", usedforsecurity=False)
    assert hashing.of_file(tmp_path / "f", beside) == hashlib.sha256(DATA).hexdigest()
    assert beside.digest() == hashlib.sha1(b"head" + DATA, usedforsecurity=False).digest()


def test_files_side_by_side_come_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_LITTLE", 0)
    paths = [tmp_path / name for name in "cab"]
    for size, path in enumerate(paths):
        path.write_bytes(DATA[: 1 + size])
    begun: list[Path] = []

    def work(path: Path) -> str:
        begun.append(path)
        return path.name

    assert hashing.side_by_side(work, paths, threads=2) == ["c", "a", "b"]
    assert begun[0] == paths[-1], "the largest first"
    with pytest.raises(FileNotFoundError):
        hashing.side_by_side(work, [*paths, tmp_path / "gone"], threads=2)


def test_what_is_written_is_hashed_beside(tmp_path: Path) -> None:
    behind = Behind("f")
    for at in range(0, len(DATA), 4096):
        behind.add(memoryview(DATA)[at : at + 4096])
    for gap in hashing.zeros(3 << 20):
        behind.add(gap)
    assert behind.close() == hashlib.sha256(DATA + bytes(3 << 20)).hexdigest()
    assert behind.close() == hashlib.sha256(DATA + bytes(3 << 20)).hexdigest()


def test_what_cannot_be_hashed_is_raised_where_it_is_written() -> None:
    behind = Behind("f")
    for _ in range(40):  # more than may wait: nobody must wait for a thread that has ended
        behind.add("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        behind.close()


def test_a_file_that_was_written_to_is_no_longer_sealed(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(DATA)
    stat = path.stat()
    sealed = Sealed("0" * 64, stat.st_size, stat.st_mtime_ns, stat.st_ino)
    path.rename(tmp_path / "g")
    assert sealed.is_still((tmp_path / "g").stat())
    (tmp_path / "g").write_bytes(DATA + b"x")
    assert not sealed.is_still((tmp_path / "g").stat())
