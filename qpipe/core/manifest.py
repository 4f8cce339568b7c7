"""The manifest: everything that went into an artifact, and the proof of what it holds.

Its SHA-256 proves that nothing changed since it was written, not that qpipe wrote it: a checkpoint
from elsewhere may have a manifest.json beside it, so the types of its fields are checked too.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import Any

from qpipe.core import key
from qpipe.core.digests import TICK, Stamp, stamp
from qpipe.core.key import Json
from qpipe.core.layout import MANIFEST
from qpipe.errors import StageError, StoreError
from qpipe.support import hashing
from qpipe.support.files import open_regular, up_to

SCHEMA = 1

# Stands in the manifest for its own SHA-256 while that is computed.
_BLANK = "0" * 64

# A line an item, without `indent`: only so is json's C encoder used, some ten times as fast.
_LINES = json.JSONEncoder(allow_nan=False, separators=(",\n ", ": "))


_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "key": str, "id": str, "name": str, "stage": str, "version": int, "params": dict,
    "engine": dict, "inputs": dict, "files": list, "facts": dict, "usage": dict, "tools": dict,
    "machine": dict, "created": (int, float),
}  # fmt: skip
_USAGE = frozenset({"seconds", "cpu_seconds", "peak_rss", "nodes"})
_LARGEST = 1 << 62
_LAST = 32503680000.0  # the year 3000

# Bytes of the longest manifest that is read; one of 100,000 files takes a quarter.
_MOST = 1 << 26


class DamagedError(StoreError):
    """An artifact is there, and is not what it should be."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of an artifact: POSIX path inside it, bytes, SHA-256 (hex).

    ``mtime_ns`` is set for a file that lies in the artifact as a link to one outside the store
    (a user's checkpoint, the hub's cache), and is that of the bytes that were hashed.
    """

    path: str
    size: int
    sha256: str
    mtime_ns: int | None = None

    def record(self) -> dict[str, Json]:
        """The entry as JSON-ready data."""
        return {
            "path": self.path,
            "size": self.size,
            "sha256": self.sha256,
            "mtime_ns": self.mtime_ns,
        }


@dataclass(frozen=True)
class Usage:
    """The cost of making an artifact: wall seconds, CPU seconds, peak resident bytes.

    Of a pass that made several ``nodes``, seconds are an equal share, and bytes those of it all.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss: int = 0
    nodes: int = 1


@dataclass(frozen=True)
class Manifest:
    """An artifact's own account. ``inputs`` maps role to ``{"key", "digest", "name"}``.

    ``facts`` is what the stage found out (format, size, perplexity, …); ``tools`` the versions
    that took part; ``created`` is seconds since the epoch.
    """

    key: str
    id: str
    name: str
    stage: str
    version: int
    params: Mapping[str, Json]
    engine: Mapping[str, Json]
    inputs: Mapping[str, Mapping[str, str]]
    files: Sequence[FileEntry]
    facts: Mapping[str, Json]
    usage: Usage = field(default_factory=Usage)
    tools: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Json] = field(default_factory=dict)
    created: float = 0.0

    @cached_property
    def digest(self) -> str:
        """The content digest of the artifact's files."""
        return key.content_digest((f.path, f.size, f.sha256) for f in self.files)

    def digest_but(self, unread: Sequence[str], *, nameless: bool = False) -> str:
        """The content digest for somebody who reads no file that fits a pattern in ``unread``.

        With ``nameless`` a file that is alone counts by its suffixes and not by its name. Where
        nothing would be left, everything counts.
        """
        if not unread and not nameless:
            return self.digest
        files = [f for f in self.files if not any(fnmatch(f.path, pattern) for pattern in unread)]
        files = files or list(self.files)
        if nameless and len(files) == 1:
            return key.content_digest((_suffixes(f.path), f.size, f.sha256) for f in files)
        return key.content_digest((f.path, f.size, f.sha256) for f in files)

    @property
    def origin(self) -> dict[str, Json]:
        """An account of its making, for a stage that takes it as input."""
        return {
            "stage": self.stage,
            "params": self.params,
            "digest": self.digest,
            "facts": self.facts,
        }

    @property
    def size(self) -> int:
        """Bytes of all files, links to files outside the store included."""
        return sum(f.size for f in self.files)

    def dump(self) -> bytes:
        """The manifest as JSON, readable by people, with the SHA-256 of its own bytes in it."""
        record: dict[str, object] = {"qpipe": SCHEMA, "sha256": _BLANK, "digest": self.digest}
        record.update((f.name, getattr(self, f.name)) for f in fields(self))
        record["files"] = [entry.record() for entry in self.files]
        record["usage"] = asdict(self.usage)
        data = _LINES.encode(record).encode() + b"\n"
        return data.replace(_BLANK.encode(), key.bytes_sha256(data).encode(), 1)

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read the manifest of an artifact folder.

        Raises DamagedError if it is not there, not JSON, or a byte of it differs from what was
        written, StoreError if it is of another schema, OSError if it cannot be read.
        """
        path = folder / MANIFEST
        try:
            with open_regular(path) as file:
                data = up_to(file, _MOST + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise DamagedError(f"{path}: there is no such manifest") from None
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise DamagedError(f"{path}: a link on the way there leads back to itself") from None
        try:
            if len(data) > _MOST:
                raise ValueError(f"it has more than {_MOST:,} bytes")
            record = _parsed(data)
            schema, sha256, digest = (record.pop(name) for name in ("qpipe", "sha256", "digest"))
            if schema != SCHEMA:
                raise StoreError(
                    f"{path}: written by another qpipe (manifest schema {schema!r:.20}, "
                    f"this one reads {SCHEMA}); use that version, or remove the artifact"
                )
            _check_types(record)
            record["files"] = [FileEntry(**entry) for entry in record["files"]]
            record["usage"] = Usage(**record["usage"])
            manifest = cls(**record)
            own = key.bytes_sha256(data.replace(sha256.encode(), _BLANK.encode(), 1))
            if (own, manifest.digest) != (sha256, digest):
                raise ValueError("its bytes do not give its own SHA-256")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedError(
                f"{path}: the manifest is damaged ({type(error).__name__}: {error}); "
                "`qpipe verify` moves the artifact away, and the next run makes it again"
            ) from None
        return manifest


def _suffixes(name: str) -> str:
    """``.txt``, and of a compressed file the suffix before it too."""
    *_, last = ["", *PurePosixPath(name).suffixes]
    return "".join(PurePosixPath(name).suffixes[-2:]) if last == ".gz" else last


def scan(
    folder: Path, *, hashed: Mapping[Stamp, str] | None = None, threads: int = 1
) -> list[FileEntry]:
    """Hash every file below ``folder``, in order of path, but for those of a stamp in ``hashed``;
    several at a time, on as many cores as ``threads``.

    A link to a file elsewhere, symbolic or hard, is recorded with its mtime: see FileEntry.
    Raises StageError for what cannot be part of an artifact: a link to a folder, into nothing or
    by an absolute path to the same output, a pipe, and a file that has the manifest's name.
    """
    paths = sorted(p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())
    names = Counter(p.stat().st_ino for p in paths if not p.is_symlink())
    for path in paths:
        if problem := _unfit(folder, path, path.relative_to(folder).as_posix()):
            raise StageError(f"{path}: {problem}, and cannot be part of an artifact")

    def entry(path: Path) -> FileEntry:
        stat, mtime = path.stat(), None
        if path.is_symlink() or stat.st_nlink > names[stat.st_ino]:
            mtime = stat.st_mtime_ns
            # A write within the clock's tick would leave the mtime as it is.
            time.sleep(max(0.0, min(TICK, mtime / 1e9 + TICK - time.time())))
        sha256 = (hashed or {}).get(stamp(stat)) or key.file_sha256(path)
        return FileEntry(path.relative_to(folder).as_posix(), stat.st_size, sha256, mtime)

    return hashing.side_by_side(entry, paths, threads=threads)


def _unfit(folder: Path, path: Path, name: str) -> str | None:
    if name == MANIFEST:
        return "this name belongs to the store"
    if not path.is_file():
        return "it is neither a file nor a folder"
    if path.is_symlink() and path.readlink().is_relative_to(folder):
        return "it is an absolute link into the output, which moves"
    return None


def misfit(folder: Path, entry: FileEntry) -> str | None:
    """The fault that a look at the file shows, or None; no byte of it is read."""
    try:
        stat = (folder / entry.path).stat()
    except OSError as error:
        return f"{entry.path} cannot be read ({error.strerror})"
    size = stat.st_size
    if not S_ISREG(stat.st_mode):
        return f"{entry.path} is no file"
    return None if size == entry.size else f"{entry.path} has {size} bytes, not {entry.size}"


def moved_on(folder: Path, entry: FileEntry) -> str | None:
    """`misfit` of a file that was hashed a moment ago: a link must not have been written to since,
    or None."""
    if problem := misfit(folder, entry):
        return problem
    if entry.mtime_ns not in (None, (folder / entry.path).stat().st_mtime_ns):
        return f"{entry.path} was written to since (it links to a file outside the store)"
    return None


def _parsed(data: bytes) -> Any:
    """The JSON in ``data``, without the NaN and infinity that Python would read. Raises ValueError,
    RecursionError for what is nested too deeply."""
    return _DECODER.decode(data.decode())


def _check_types(record: Mapping[str, Any]) -> None:
    """Raises ValueError, KeyError, TypeError or AttributeError for a field that is of another type
    or missing."""
    for name, kind in _FIELDS.items():
        _require(isinstance(record[name], kind), name, record[name])
    _require(0 <= record["created"] < _LAST, "created", record["created"])
    for name, value in record["usage"].items():
        number = type(value) in (int, float) and 0 <= value < _LARGEST
        _require(name in _USAGE and number, f"usage.{name}", value)
    for name, value in record["inputs"].items():
        texts = all(isinstance(value[part], str) for part in ("key", "digest", "name"))
        _require(texts, f"inputs.{name}", value)
    for entry in record["files"]:
        _require(_is_entry(entry), "files", entry)


def _is_entry(entry: Mapping[str, Any]) -> bool:
    path, size, mtime = entry["path"], entry["size"], entry.get("mtime_ns")
    os.fsencode(path)  # raises ValueError for half a character, which a name cannot have
    return (
        "\0" not in path
        and not path.startswith("/")
        and ".." not in path.split("/")
        and isinstance(entry["sha256"], str)
        and type(size) is int
        and 0 <= size < _LARGEST
        and (mtime is None or (type(mtime) is int and abs(mtime) < _LARGEST))
    )


def _require(fits: bool, name: str, value: object) -> None:
    if not fits:
        raise ValueError(f"{name} is {value!r:.80}")


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if abs(number) == float("inf"):
        raise ValueError(f"{digits:.20} is no number")
    return number


_DECODER = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite)
