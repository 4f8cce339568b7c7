"""One file from elsewhere, whole or not at all: what came before a connection was cut is kept, the
next attempt goes on at that byte, and the bytes are hashed as they are written."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qpipe.core import file_lock
from qpipe.errors import OutOfSpaceError, SourceError, UnreachableError
from qpipe.machine.filesystem import free_bytes, is_full
from qpipe.support import hashing

if TYPE_CHECKING:
    from qpipe.support.hashing import Hash

Advance = Callable[[int, "int | None"], None]
"""Takes the bytes of a file that are here, and how many it has in all, if that is known."""

# Attempts in a row that bring less than _WORTH bytes, and the seconds before the second of them;
# each pause is twice the one before.
_ATTEMPTS, _PAUSE, _WORTH = 5, 0.5, 1 << 20
# Bytes of a file by which its kind is judged.
_HEAD = 64
# Bytes of a disk that a file of unknown size must leave.
_LEFT = 1 << 30


class CutError(Exception):
    """The bytes stopped coming, or did not come yet: worth another attempt after ``wait`` s."""

    def __init__(self, why: str, wait: float = 0.0, *, anew: bool = False) -> None:
        """``anew``: what is here is of no use."""
        super().__init__(why)
        self.wait, self.anew = wait, anew


@dataclass(frozen=True)
class Body:
    """The bytes of a file from ``start`` on, of ``total`` in all (None: unknown).

    ``version`` tells one state of the file from another, and None says that nothing does; ``page``
    is whether the sender calls it a web page, ``has_end`` whether its end is told from a connection
    that was cut.
    """

    start: int
    total: int | None
    version: str | None
    chunks: Iterator[bytes]
    page: bool = False
    has_end: bool = True


class FileElsewhere(Protocol):
    """A file elsewhere. ``name`` is its own, ``shown`` where it is, in the words of messages."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def shown(self) -> str: ...  # noqa: D102

    def open(self, start: int, version: str | None) -> AbstractContextManager[Body]:
        """The bytes from ``start`` on if the file is still of that version, else all of them.

        Raises CutError, and SourceError where no other attempt helps.
        """


@dataclass(frozen=True)
class ReceivedFile:
    """A file that is here: its SHA-256 (hex), and its version as `Body` has it."""

    path: Path
    sha256: str
    version: str | None


def fetch(
    file: FileElsewhere,
    folder: Path,
    sha256: str | None,
    advance: Advance = lambda done, total: None,
) -> ReceivedFile:
    """Bring a file into ``folder``, where what is missing of an earlier attempt is fetched alone.

    Without a ``sha256`` any bytes are taken. Raises SourceError for other bytes, UnreachableError
    for a sender that does not answer, and OutOfSpaceError.
    """
    attempt = _Attempt(file, folder, advance, known=sha256 is not None)
    try:
        goes_on = attempt.restore()
        digest = attempt.run()
        if sha256 is not None and digest != sha256 and goes_on:
            attempt.discard()  # its first bytes may be another file's
            digest = attempt.run()
        if sha256 is not None and digest != sha256:
            attempt.discard()
            raise SourceError(
                f"{file.shown}: its bytes have the SHA-256 {digest}, and {sha256} is asked for: "
                "this is another file, or a later state of it; look at where you have the digest "
                "from, and put model.sha256 or the lock file right if these bytes are meant"
            )
        return ReceivedFile(attempt.finish(), digest, attempt.version)
    except SourceError:
        attempt.discard_empty()
        raise
    except OSError as error:
        if not is_full(error):
            raise
        raise OutOfSpaceError(
            f"{file.shown}: the disk is full (writing {folder}); free some space: the same command "
            "goes on from there"
        ) from None


class _Attempt:
    """Attempts at one file, whose digest is ``known`` or not: what of it is here, hashed as far as
    that."""

    def __init__(self, file: FileElsewhere, folder: Path, advance: Advance, *, known: bool) -> None:
        self.file, self._known = file, known
        self.version: str | None = None
        self._target = folder / file.name
        self._part = self._target.with_name(f"{self._target.name}.part")
        self._note = self._target.with_name(f"{self._target.name}.version")
        self._advance = advance
        self._digest: Hash = hashing.begin(file.name)
        self._size = 0

    def restore(self) -> bool:
        """Take up what an earlier process left, if it can be told (or need not be) of which version
        of the file that is; True if there is anything."""
        with contextlib.suppress(OSError, ValueError):
            self.version = json.loads(self._note.read_bytes())["version"]
        if self.version is None and not self._known:
            self.discard()
        if self._part.is_file():
            self._size = self._part.stat().st_size
            hashing.of_file(self._part, self._digest)
        return self._size > 0

    def discard(self) -> None:
        """Begin anew."""
        self._part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self._digest, self._size, self.version = hashing.begin(self.file.name), 0, None

    def discard_empty(self) -> None:
        """Leave nothing of what never began."""
        if not self._size:
            self.discard()

    def finish(self) -> Path:
        """Give the whole file its name."""
        self._part.replace(self._target)
        self._note.unlink(missing_ok=True)
        return self._target

    def run(self) -> str:
        """Fetch what is missing; the SHA-256 of the whole. Raises UnreachableError."""
        failures, before = 0, self._size
        while True:
            try:
                with self.file.open(self._size, self.version) as body:
                    self._take(body)
                return self._digest.hexdigest()
            except CutError as cut:
                failures = 1 if self._size - before >= _WORTH else failures + 1
                before = self._size
                if cut.anew:
                    self.discard()
                if failures >= _ATTEMPTS:
                    raise UnreachableError(
                        f"{self.file.shown}: {cut}, {failures} times in a row; check the network "
                        "and the proxy (HTTPS_PROXY), or try again later"
                        + (": what is here is kept" if self._size else "")
                    ) from None
                time.sleep(max(cut.wait, _PAUSE * 2 ** (failures - 1)))

    def _take(self, body: Body) -> None:
        if not body.has_end and not self._known:
            raise SourceError(
                f"{self.file.shown}: the server says neither how many bytes the file has nor where "
                "it ends, so that what a cut connection leaves looks whole: give the SHA-256 that "
                "it has to have (model.sha256, or #sha256=… behind the address), or fetch it, "
                "look whether it is whole, and give the path"
            )
        if body.start != self._size:
            self.discard()
        elif self._size and self.version and body.version and body.version != self.version:
            raise CutError("the file changed meanwhile", anew=True)
        if body.version != self.version:
            self.version = body.version
            note = json.dumps({"version": body.version}).encode()
            file_lock.write_atomic(self._note, note, sync=False)
        self._require_room(body.total)
        with self._part.open("ab") as out:
            for chunk in body.chunks if self._size else _judged(self.file, body):
                out.write(chunk)
                self._digest.update(chunk)
                self._size += len(chunk)
                self._advance(self._size, body.total)
                if body.total is None:
                    self._require_room(None)
        if body.total is not None and self._size < body.total:
            raise CutError(f"the connection was cut after {self._size:,} of {body.total:,} bytes")
        if body.total is not None and self._size > body.total:
            self.discard()
            raise CutError(f"more came than the {body.total:,} bytes that were announced")

    def _require_room(self, total: int | None) -> None:
        free = free_bytes(self._part.parent)
        missing = _LEFT if total is None else total - self._size
        if missing > free:
            what = "its size is not known" if total is None else f"{missing:,} bytes are to come"
            raise OutOfSpaceError(
                f"{self.file.shown}: {what}, and the disk of the store ({self._part.parent}) has "
                f"{free:,} left: free some, or name another disk with --store"
            )


def _judged(file: FileElsewhere, body: Body) -> Iterator[bytes]:
    """The bytes of a file from its beginning, once these are known to be of such a file."""
    head = b""
    for chunk in body.chunks:
        if len(head) < _HEAD:
            head += chunk
            if len(head) < _HEAD:
                continue
            chunk = head
            _require_kind(file, head, body.page)
        yield chunk
    if 0 < len(head) < _HEAD:
        _require_kind(file, head, body.page)
        yield head


def _require_kind(file: FileElsewhere, head: bytes, page: bool) -> None:
    """Raise SourceError for bytes that are plainly no file of that name; none of them are kept."""
    gguf = file.name.endswith(".gguf")
    if gguf and head[:4] == b"GGUF":
        return
    begins = head.lstrip()[:9].lower()
    if (page and not file.name.endswith(".html")) or (gguf and begins.startswith(b"<")):
        raise SourceError(
            f"{file.shown}: a web page came in place of the file: a login, or a page about it; "
            "give the address that the page's download button has"
        )
    if head.startswith(b"version https://git-lfs"):
        raise SourceError(
            f"{file.shown}: a pointer of git LFS came, and not the file itself; give the address "
            "of the file (for GitHub: media.githubusercontent.com/media/…)"
        )
    if gguf:
        raise SourceError(f"{file.shown}: is no GGUF file: it begins with {head[:8]!r}")
