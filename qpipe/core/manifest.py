"""The manifest: everything that went into an artifact, and the proof of what it holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from qpipe.core import key
from qpipe.core.key import Json
from qpipe.core.layout import MANIFEST
from qpipe.errors import StoreError

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of an artifact: POSIX path inside it, bytes, SHA-256 (hex).

    ``mtime_ns`` is set for a file that lies in the artifact as a link to one outside the store
    (a user's checkpoint, the hub's cache): it must not have been written to since.
    """

    path: str
    size: int
    sha256: str
    mtime_ns: int | None = None


@dataclass(frozen=True)
class Usage:
    """What making an artifact took: wall seconds, CPU seconds, peak resident bytes."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss: int = 0


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

    @property
    def digest(self) -> str:
        """The content digest of the artifact's files."""
        return key.content_digest((f.path, f.size, f.sha256) for f in self.files)

    @property
    def size(self) -> int:
        """Bytes of all files, links to files outside the store included."""
        return sum(f.size for f in self.files)

    def dump(self) -> bytes:
        """The manifest as JSON, readable by people."""
        record = {"qpipe": SCHEMA, "digest": self.digest, **asdict(self)}
        return json.dumps(record, indent=1, allow_nan=False).encode() + b"\n"

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read the manifest of an artifact folder.

        Raises StoreError if it is not there, not JSON, of another schema, or contradicts itself.
        """
        path = folder / MANIFEST
        try:
            record = json.loads(path.read_bytes())
            schema, digest = record.pop("qpipe"), record.pop("digest")
            if schema != SCHEMA:
                raise StoreError(
                    f"{path}: written by another qpipe (manifest schema {schema}, "
                    f"this one reads {SCHEMA}); use that version, or remove the artifact"
                )
            record["files"] = [FileEntry(**entry) for entry in record["files"]]
            record["usage"] = Usage(**record["usage"])
            manifest = cls(**record)
        except FileNotFoundError:
            raise StoreError(f"{path}: there is no such manifest") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{path}: the manifest is damaged ({type(error).__name__}: {error}); "
                "`qpipe verify` moves the artifact away, and the next run makes it again"
            ) from None
        if manifest.digest != digest:
            raise StoreError(
                f"{path}: the manifest is damaged (its files do not give its own digest); "
                "`qpipe verify` moves the artifact away, and the next run makes it again"
            )
        return manifest


def scan(folder: Path) -> list[FileEntry]:
    """Hash every file below ``folder``, the manifest excepted, in order of path.

    A link to a file elsewhere, symbolic or hard, is recorded with its mtime: see FileEntry.
    """
    entries = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name == MANIFEST:
            continue
        stat = path.stat()
        outside = path.is_symlink() or stat.st_nlink > 1
        mtime = stat.st_mtime_ns if outside else None
        entries.append(FileEntry(name, stat.st_size, key.file_sha256(path), mtime))
    return entries


def intact(folder: Path, entry: FileEntry) -> str | None:
    """What a look at the file's size and mtime shows to be wrong with it, or None."""
    try:
        stat = (folder / entry.path).stat()
    except OSError as error:
        return f"{entry.path} cannot be read ({error.strerror})"
    if stat.st_size != entry.size:
        return f"{entry.path} has {stat.st_size} bytes, not {entry.size}"
    if entry.mtime_ns is not None and stat.st_mtime_ns != entry.mtime_ns:
        return f"{entry.path} was written to since (it links to a file outside the store)"
    return None
