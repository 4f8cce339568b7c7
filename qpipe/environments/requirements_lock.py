"""A requirements lock: each distribution of an environment, its version and its files' hashes.

The format is pip's, as ``uv pip compile --universal --generate-hashes`` writes it: one file for all
supported Pythons and systems, told apart by markers. One line has no hash: torch, whose build (CPU,
CUDA, ROCm) is a matter of the machine. It is pinned by its version alone, and the accelerator
packages that only torch needs come with it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from qpipe.errors import EngineMissingError

TORCH = "torch"

_HEAD = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})(?=\s|\\|$)")
_MARKER = re.compile(r";\s*(.*?)\s*\\?$")


@dataclass(frozen=True)
class LockedPackage:
    """One distribution, or one of several versions of it that markers choose from."""

    name: str
    version: str
    text: str

    @property
    def hashed(self) -> bool:
        """True if its files are known by their SHA-256."""
        return _HASH.search(self.text) is not None

    @property
    def hashes(self) -> frozenset[str]:
        """The SHA-256 (hex) of each of its files."""
        return frozenset(_HASH.findall(self.text))

    @property
    def marker(self) -> str | None:
        """The condition under which it is wanted, as PEP 508 writes it."""
        match = _MARKER.search(self.text.splitlines()[0])
        return match[1] if match else None


@dataclass(frozen=True)
class RequirementsLock:
    """The contents of a requirements lock."""

    path: Path
    entries: tuple[LockedPackage, ...]
    digest: str
    """SHA-256 (hex) of the file: the environment's name, and part of its stages' keys."""

    @cached_property
    def torch(self) -> str | None:
        """The version of torch, None for an environment without it."""
        return next((e.version for e in self.entries if e.name == TORCH), None)

    @cached_property
    def names(self) -> frozenset[str]:
        """The normalized names of all that is in it."""
        return frozenset(entry.name for entry in self.entries)

    def version(self, name: str) -> str:
        """The one version of a distribution. Raises KeyError if there is none."""
        for entry in self.entries:
            if entry.name == name:
                return entry.version
        raise KeyError(name)

    def requirements(self, *, only: frozenset[str]) -> str:
        """The hashed entries among ``only``, as a requirements file."""
        return "".join(e.text for e in self.entries if e.name in only and e.name != TORCH)


def read(path: Path) -> RequirementsLock:
    """Raises EngineMissingError for a file that is not there or in which an entry has no hash."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EngineMissingError(f"{path}: the lock cannot be read ({error.strerror})") from None
    entries = parse(data.decode())
    for entry in entries:
        if entry.name != TORCH and not entry.hashed:
            raise EngineMissingError(
                f"{path}: {entry.name} {entry.version} has no hash; make the lock again "
                "(`qpipe engines lock`): only torch may be pinned by its version alone"
            )
    return RequirementsLock(path, entries, hashlib.sha256(data).hexdigest())


def parse(text: str) -> tuple[LockedPackage, ...]:
    """The entries of a lock's text: lines that begin a requirement, with the lines under each."""
    blocks: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line[0].isspace():
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return tuple(_entry(block) for block in blocks)


def _entry(block: list[str]) -> LockedPackage:
    head = _HEAD.match(block[0])
    if head is None:
        raise EngineMissingError(f"a lock pins each distribution with ==, not as {block[0]!r}")
    return LockedPackage(normalized(head["name"]), head["version"], "\n".join(block) + "\n")


def normalized(name: str) -> str:
    """A distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
