"""Locks, and files that are replaced as a whole."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from qpipe.core import file_lock
from tests.core.beside import until


def test_exclusive_and_shared(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.lock"
    one = file_lock.acquire(path, shared=True)
    two = file_lock.acquire(path, shared=True)
    assert one is not None
    assert two is not None
    assert file_lock.acquire(path, wait=False) is None
    os.close(one)
    os.close(two)
    with file_lock.held(path):
        assert file_lock.acquire(path, shared=True, wait=False) is None
        assert file_lock.is_held(path)
    assert not file_lock.is_held(path)
    assert not file_lock.is_held(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_waiting_for_a_lock_file_that_is_removed(tmp_path: Path) -> None:
    """Who waits must not end up with a lock on a file that nobody else can see."""
    path = tmp_path / "x.lock"
    first = file_lock.acquire(path)
    assert first is not None
    got: list[int | None] = []
    waiter = threading.Thread(target=lambda: got.append(file_lock.acquire(path)))
    waiter.start()
    until(lambda: _waiting(path))
    path.unlink()
    os.close(first)
    waiter.join(10)
    assert got[0] is not None
    assert os.path.samestat(os.fstat(got[0]), path.stat())
    assert file_lock.acquire(path, wait=False) is None
    os.close(got[0])


def _waiting(path: Path) -> bool:
    inode = str(path.stat().st_ino)
    return any(
        "->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines()
    )


def test_a_child_keeps_the_lock_of_a_dead_parent(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    code = (
        "import os, subprocess, sys\n"
        "from pathlib import Path\n"
        "from qpipe.core import file_lock\n"
        f"fd = file_lock.acquire(Path({str(path)!r}))\n"
        "child = subprocess.Popen(['sleep', '30'], pass_fds=(fd,))\n"
        "print(child.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
    assert file_lock.acquire(path, wait=False) is None
    os.kill(child, 9)
    until(lambda: not file_lock.is_held(path))


def test_atomic_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file"
    file_lock.write_atomic(path, b"one")
    file_lock.write_atomic(path, b"two", sync=False)
    assert path.read_bytes() == b"two"

    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        file_lock.write_atomic(path, b"three")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_lock_on_what_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    def fail(fd: int, mode: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.raises(OSError, match="No locks available"):
        file_lock.acquire(tmp_path / "x.lock")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
