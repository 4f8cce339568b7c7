"""SHA-256 of files: of one that is there, of several beside each other, of one while it is written.

hashlib lets go of Python's lock for more than 2 KiB, so that threads hash on as many cores. The
SHA-256 of one file is a chain: no two cores can share it.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    Hash: TypeAlias = "hashlib._Hash"

Buffer: TypeAlias = "bytes | memoryview"
"""Bytes, or a view of one dimension."""

_T = TypeVar("_T")

# Bytes that are read at a time: what a core's own cache holds is hashed a sixth quicker.
_CHUNK = 1 << 20

# Bytes of several files that are not worth a thread.
_LITTLE = 8 << 20

# Buffers of a file being written that may wait to be hashed.
_WAITING = 8


class Sealed(NamedTuple):
    """A file as it was closed, and the SHA-256 (hex) of its bytes: size and mtime (ns), inode."""

    sha256: str
    size: int
    mtime_ns: int
    inode: int

    def is_still(self, stat: os.stat_result) -> bool:
        """True if ``stat`` is of that very file, and nobody has written to it since."""
        return (stat.st_size, stat.st_mtime_ns, stat.st_ino) == self[1:]


class Shown(Protocol):
    """Whoever is shown the bytes that are read: another hash, or a counter of them."""

    def update(self, data: Buffer, /) -> object:
        """Take the next bytes."""


def begin(name: str) -> Hash:
    """A SHA-256 of the bytes of the file ``name``; every file's begins here."""
    return hashlib.sha256()


def of_file(path: Path, *beside: Shown) -> str:
    """SHA-256 (hex) of a file's bytes, which those ``beside`` are shown too.

    Raises OSError.
    """
    digest = begin(str(path))
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):  # type: ignore[attr-defined,unused-ignore]
            for each in (digest, *beside):
                each.update(buffer[:count])
    return digest.hexdigest()


def copy(source: Path, target: Path) -> str:
    """Copy a file to ``target``, which is not there; return the SHA-256 (hex) of its bytes.

    Raises OSError.
    """
    digest = begin(str(source))
    with source.open("rb", buffering=0) as old, target.open("xb") as new:
        while chunk := old.read(_CHUNK):
            digest.update(chunk)
            new.write(chunk)
    return digest.hexdigest()


def side_by_side(work: Callable[[Path], _T], paths: Sequence[Path], *, threads: int) -> list[_T]:
    """Do ``work`` on each file, on ``threads`` cores, the largest first; results in the files'
    order. Raises what ``work`` raises, and OSError."""
    sizes = {path: path.stat().st_size for path in paths}
    if min(threads, len(paths)) < 2 or sum(sizes.values()) < _LITTLE:
        return [work(path) for path in paths]
    from concurrent.futures import ThreadPoolExecutor  # plans and cached runs need no threads

    largest = sorted(paths, key=lambda path: -sizes[path])
    with ThreadPoolExecutor(min(threads, len(paths))) as pool:
        futures = {path: pool.submit(work, path) for path in largest}
        return [futures[path].result() for path in paths]


class Behind:
    """The SHA-256 of a file that is written from front to end, in a thread beside the writer's.

    What it is given must not change any more. It is to be closed, however writing ends.
    """

    def __init__(self, name: str) -> None:
        """Nothing of the file ``name`` is written yet."""
        self._digest = begin(name)
        self._buffers: queue.Queue[Buffer | None] = queue.Queue(_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._hash, name="hash", daemon=True)
        self._thread.start()

    def add(self, buffer: Buffer) -> None:
        """The next bytes of the file; waits where hashing is far behind."""
        self._buffers.put(buffer)

    def close(self) -> str:
        """The digest (hex) of all bytes that were added. Raises what hashing them raised."""
        if self._thread.is_alive():
            self._buffers.put(None)
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self._digest.hexdigest()

    def _hash(self) -> None:
        while (buffer := self._buffers.get()) is not None:
            try:
                self._digest.update(buffer)
            except BaseException as error:  # noqa: BLE001  raised in the writer's thread
                self._error = error


class ReadCounter:
    """The bytes that were read of ``total``, in any thread, told to ``progress`` (done, total)."""

    def __init__(self, total: int, progress: Callable[[int, int], None]) -> None:
        """Nothing is read yet."""
        self._done, self._total, self._progress = 0, total, progress
        self._lock = threading.Lock()

    def update(self, data: Buffer, /) -> None:
        """Count bytes."""
        with self._lock:
            self._done += len(data)
            self._progress(self._done, self._total)


def zeros(count: int) -> Iterable[bytes]:
    """So many bytes of a gap in a file that nothing was written to."""
    return (bytes(min(_CHUNK, count - at)) for at in range(0, count, _CHUNK))
