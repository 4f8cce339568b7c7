"""Everything that composing a recipe looked at: gathered while it does, compared afterwards."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from qpipe.core import env_values
from qpipe.recipe.references import environment, resolvers

# OmegaConf's own resolvers (2.3) whose outcome hangs on files, overrides and the environment alone.
_WITNESSED = {"oc.env", "oc.select", "oc.decode", "oc.create", "oc.deprecated"}
_WITNESSED |= {"oc.dict.keys", "oc.dict.values"}


@dataclass(frozen=True)
class Witnesses:
    """A record of what a composition looked at.

    ``files`` maps a path to the SHA-256 of its bytes (None: not there); ``folders`` to whether
    it is one; ``listings`` to the names in a folder (None: not there); ``environment`` to the
    digest of a variable's value (None: not set).
    """

    files: Mapping[str, str | None] = field(default_factory=dict)
    folders: Mapping[str, bool] = field(default_factory=dict)
    listings: Mapping[str, list[str] | None] = field(default_factory=dict)
    environment: Mapping[str, str | None] = field(default_factory=dict)

    def with_files(self, paths: Iterable[str]) -> Witnesses:
        """Return these and the bytes that more files have now."""
        return replace(self, files={**self.files, **{path: file_digest(path) for path in paths}})

    def unchanged(self) -> bool:
        """True if everything is as it was."""
        return (
            all(os.path.isdir(path) is there for path, there in self.folders.items())  # noqa: PTH112
            and all(variable_digest(name) == was for name, was in self.environment.items())
            and all(listing(path) == was for path, was in self.listings.items())
            and all(file_digest(path) == was for path, was in self.files.items())
        )


def variable_digest(name: str) -> str | None:
    """SHA-256 (hex) of the value of an environment variable, None if it is not set."""
    value = os.environ.get(name)
    return None if value is None else env_values.digest(value)


def file_digest(path: str) -> str | None:
    """SHA-256 (hex) of a small file, None if it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # a few µs each, dozens of times
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


def listing(path: str) -> list[str] | None:
    """The names in a folder, sorted; None if it is none."""
    try:
        return sorted(os.listdir(path))  # noqa: PTH208
    except OSError:
        return None


class Trail:
    """The files and folders that were read, or looked for in vain."""

    def __init__(self) -> None:
        self._files: dict[str, str | None] = {}
        self._folders: dict[str, bool] = {}
        self._listings: dict[str, list[str] | None] = {}

    def file(self, path: str, roots: Iterable[Path]) -> None:
        """A file is looked for, in order. To be called before it is read: a change is noticed."""
        for root in roots:
            file = str(root / path)
            if self._files.setdefault(file, file_digest(file)) is not None:
                return

    def folder(self, path: str, roots: Iterable[Path]) -> None:
        """A folder is looked for."""
        for root in roots:
            self._folders.setdefault(str(root / path), (root / path).is_dir())

    def listing(self, path: str, roots: Iterable[Path]) -> None:
        """A folder is listed."""
        for root in roots:
            self._listings.setdefault(str(root / path), listing(str(root / path)))

    def witnesses(self, overrides: Sequence[str]) -> Witnesses | None:
        """All that must stay as it is for the same outcome; None if that cannot be said."""
        read = [Path(path) for path, digest in self._files.items() if digest is not None]
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in read]
        variables: dict[str, str | None] = {}
        for text in [*texts, *overrides]:
            names = environment(text)
            if names is None or "${hydra" in text or not resolvers(text) <= _WITNESSED:
                return None
            if any("${" in os.environ.get(name, "") for name in names):
                return None
            variables |= {name: variable_digest(name) for name in names}
        return Witnesses(self._files, self._folders, self._listings, variables)
