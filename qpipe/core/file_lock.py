"""Advisory file locks that die with their process (flock), and small atomic writes.

flock belongs to the open file, so a worker that inherits the descriptor keeps the lock when its
parent is killed: nobody else starts the same work beside an orphan.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def acquire(path: Path, *, shared: bool = False, wait: bool = True) -> int | None:
    """Open (creating) and lock ``path``; the descriptor, or None if it is taken and not ``wait``.

    A file that somebody removed while we waited is opened anew.
    """
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    if not wait:
        mode |= fcntl.LOCK_NB
    while True:
        fd = open_file(path)
        try:
            fcntl.flock(fd, mode)
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        if _still_there(fd, path):
            return fd
        os.close(fd)


def open_file(path: Path) -> int:
    """Open a file to lock without locking it, and create it if it is not there."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o666)


def is_held(path: Path) -> bool:
    """True if somebody has locked an existing file; nothing is written or created."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared: on NFS (flock(2), Linux) an exclusive lock needs a file that is open for writing.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _still_there(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def held(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock on ``path`` for a block."""
    fd = acquire(path, shared=shared)
    assert fd is not None
    try:
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def in_use(path: Path) -> Iterator[None]:
    """Hold a shared lock on a file, which is created if it is not there; of one that is, reading
    it is all that this needs."""
    if not path.exists():
        os.close(open_file(path))
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def write_atomic(path: Path, data: bytes, *, sync: bool = True, mode: int | None = None) -> None:
    """Replace ``path`` by ``data`` as a whole: readers see the old bytes or the new ones.

    ``mode`` is that of the file, None: what the umask leaves."""
    temporary = path.with_name(f".{path.name[:100]}.{unique()}")
    try:
        with _create(temporary) as file:
            file.write(data)
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise


def _create(path: Path) -> BinaryIO:
    try:
        return path.open("wb")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("wb")


def unique() -> str:
    """A name that no other process makes up, not even one with our PID in another container."""
    return f"{os.getpid()}-{os.urandom(4).hex()}"
