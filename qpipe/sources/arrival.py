"""A file that comes over the network: written, hashed and counted at once.

Its bytes go to the disk and to SHA-256 a mebibyte at a time, which a core's own cache holds; what
an earlier attempt left is read once, and the rest follows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from qpipe.sources import digest_check
from qpipe.support.hashing import Behind, Sealed

_CHUNK = 1 << 20


class StoppedError(Exception):
    """Another file failed, or the run was stopped: this one is given up."""


class Arriving:
    """Counts the bytes of all files that come, on several threads.

    ``progress`` takes (bytes done, bytes in all, "bytes").
    """

    def __init__(self, progress: Callable[[int, int, str], None]) -> None:
        self.done = self._total = 0
        self._progress = progress
        self._lock = threading.Lock()
        self._stopped = False

    def expect(self, count: int) -> None:
        """So many bytes more are to come."""
        with self._lock:
            self._total += count

    def add(self, count: int) -> None:
        """So many bytes more are there; fewer, where a file begins anew."""
        with self._lock:
            self.done += count
            self._progress(self.done, max(self._total, self.done), "bytes")

    def stop(self) -> None:
        """Have all files given up that are on their way; what came of them is kept."""
        self._stopped = True

    def check(self) -> None:
        """Raise StoppedError if the files are to be given up."""
        if self._stopped:
            raise StoppedError


class Arrival:
    """One file at ``path``, of ``expected`` bytes (None: nobody knows), to which bytes are added.

    ``digest`` is its name on the hub (hex): SHA-256, or the SHA-1 that git gives it. What is
    at ``path`` already counts as its beginning.
    """

    def __init__(
        self, path: Path, expected: int | None, digest: str | None, arriving: Arriving
    ) -> None:
        self.path = path
        self._expected, self._digest, self._arriving = expected, digest, arriving
        self._pending: list[bytes] = []
        self._waiting = 0

    def __enter__(self) -> Arrival:
        self._file = self.path.open("a+b", buffering=0)
        self._begin()
        try:
            self._file.seek(0)
            while piece := self._file.read(_CHUNK):
                self._arriving.check()
                self._add(piece)
            if self.overfull:
                self.restart()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        try:
            if self._waiting:
                self._flush()
        finally:
            self._close()

    @property
    def size(self) -> int:
        """Bytes that came."""
        return self._written + self._waiting

    @property
    def lacking(self) -> bool:
        """True while bytes are to come; of a file of unknown size they always are."""
        return self._expected is None or self.size < self._expected

    @property
    def overfull(self) -> bool:
        """True if more came than the file has."""
        return self._expected is not None and self.size > self._expected

    def write(self, piece: bytes) -> None:
        """The next bytes. Raises StoppedError, OSError."""
        self._pending.append(piece)
        self._waiting += len(piece)
        if self._waiting >= _CHUNK:
            self._flush()

    def restart(self) -> None:
        """Forget what came."""
        self._pending, self._waiting = [], 0
        self._file.truncate(0)
        self._arriving.add(-self._written)
        self._sha256.close()
        self._begin()

    def sealed(self) -> tuple[Sealed, str | None]:
        """The file as it is, and what is wrong with it by the hub's name for it, or None."""
        self._flush()
        stat = self.path.stat()
        sha256 = self._sha256.close()
        sealed = Sealed(sha256, stat.st_size, stat.st_mtime_ns, stat.st_ino)
        if self._expected is not None and stat.st_size != self._expected:
            return sealed, f"it has {stat.st_size} bytes, and the hub names {self._expected}"
        if self._digest is None or len(self._digest) == len(sha256):
            return sealed, digest_check.difference(sha256, self._digest)
        if self._expected is None:  # git's header holds the size
            return sealed, digest_check.digests(self.path, self._digest)[1]
        return sealed, digest_check.difference(self._git.hexdigest(), self._digest)

    def discard(self) -> None:
        """Remove what came."""
        self.path.unlink(missing_ok=True)
        self._arriving.add(-self._written)

    def _begin(self) -> None:
        self._written = 0
        self._sha256 = Behind(str(self.path))
        self._git = digest_check.begin_of_git(self._expected or 0)

    def _flush(self) -> None:
        data = b"".join(self._pending)
        self._pending, self._waiting = [], 0
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._add(data)
        self._arriving.check()

    def _add(self, data: bytes) -> None:
        self._written += len(data)
        self._sha256.add(data)
        if self._digest is not None and len(self._digest) == 40:
            self._git.update(data)
        self._arriving.add(len(data))

    def _close(self) -> None:
        self._sha256.close()
        self._file.close()
