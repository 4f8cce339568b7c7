"""What composing a recipe looked at, gathered while it does."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from qpipe.recipe import remember
from qpipe.recipe.references import environment, resolvers
from qpipe.recipe.remember import Witnesses

# OmegaConf's own resolvers, whose outcome hangs on files, overrides and the environment alone.
_WITNESSED = {"oc.env", "oc.select", "oc.decode", "oc.create", "oc.deprecated"}
_WITNESSED |= {"oc.dict.keys", "oc.dict.values"}


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
            if self._files.setdefault(file, remember.file_digest(file)) is not None:
                return

    def folder(self, path: str, roots: Iterable[Path]) -> None:
        """A folder is looked for."""
        for root in roots:
            self._folders.setdefault(str(root / path), (root / path).is_dir())

    def listing(self, path: str, roots: Iterable[Path]) -> None:
        """A folder is listed."""
        for root in roots:
            self._listings.setdefault(str(root / path), remember.listing(str(root / path)))

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
            variables |= {name: remember.variable_digest(name) for name in names}
        return Witnesses(self._files, self._folders, self._listings, variables)
