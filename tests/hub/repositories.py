"""Repositories of the hub: commits, which are folders, and the branches that lead to them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""The commit of a repository that is served from a folder."""

# What the hub keeps in LFS, by `.gitattributes` of a new repository; and any file of 10 MB.
_LARGE = (".safetensors", ".gguf", ".bin", ".parquet", ".onnx", ".pt", ".pth")
_LARGE_BYTES = 10_000_000

_CHUNK = 1 << 20


def is_large(name: str, size: int) -> bool:
    """Whether a file is in LFS."""
    return name.endswith(_LARGE) or size >= _LARGE_BYTES


def etag(name: str, data: bytes) -> str:
    """What the hub calls a file: SHA-256 in LFS, else the SHA-1 that git gives it."""
    if is_large(name, len(data)):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass(frozen=True)
class Stored:
    """A file of a commit: ``oid`` is the SHA-256 of its bytes in LFS, else git's SHA-1."""

    path: Path
    size: int
    oid: str
    large: bool

    @property
    def blob_id(self) -> str:
        """Git's own name of what is committed: of a file in LFS, of the pointer to it."""
        if not self.large:
            return self.oid
        pointer = (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.oid}\nsize {self.size}\n"
        ).encode()
        return hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()


@dataclass
class Access:
    """Who may read a repository: ``gated`` shows that it is there, ``private`` does not."""

    kind: str
    tokens: Collection[str] = ()


@dataclass
class Repository:
    """Commits as folders, the newest last, and branches by name."""

    commits: dict[str, Path] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    pull_requests: int = 0

    @classmethod
    def of_folder(cls, folder: Path, commit: str) -> Repository:
        """A repository of one commit."""
        return cls({commit: folder}, {"main": commit})

    def commit(self, revision: str) -> str | None:
        """The commit of a branch, or of a commit's name or the beginning of it."""
        if revision in self.branches:
            return self.branches[revision]
        named = [commit for commit in self.commits if commit.startswith(revision)]
        return named[0] if len(named) == 1 and len(revision) >= 7 else None


class Reader:
    """Looks at the files of commits; each is hashed once, until it changes."""

    def __init__(self) -> None:
        self._oids: dict[tuple[str, int, int], str] = {}
        self._lock = threading.Lock()

    def files(self, folder: Path) -> dict[str, Stored]:
        """The files of a commit by name."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): self.file(folder, path) for path in paths}

    def file(self, folder: Path, path: Path) -> Stored:
        """One file of a commit."""
        stat = path.stat()
        name = path.relative_to(folder).as_posix()
        large = is_large(name, stat.st_size)
        seen = (str(path), stat.st_size, stat.st_mtime_ns)
        with self._lock:
            if seen not in self._oids:
                self._oids[seen] = digest(path, large=large)
            return Stored(path, stat.st_size, self._oids[seen], large)


def digest(path: Path, *, large: bool) -> str:
    """The name that the hub gives to a file's bytes (hex).

    One of nothing but a hole, which stands for weights that nobody reads, gets some name.
    """
    if path.stat().st_blocks == 0 and path.stat().st_size >= _LARGE_BYTES:
        return hashlib.sha256(b"a hole of %d bytes" % path.stat().st_size).hexdigest()
    header = b"" if large else b"blob %d\0" % path.stat().st_size
    state = hashlib.sha256() if large else hashlib.sha1(header)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()
