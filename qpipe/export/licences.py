"""What licences say of sharing a quantized copy: a table by the hub's identifiers, with sources.

The identifiers are those of https://huggingface.co/docs/hub/repositories-licenses; a licence that
is not in the table (``other``, most of all) has to be read by whoever shares.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from qpipe.errors import UsageError

IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.+_-]{0,95}")
LINK = re.compile(r"https?://[^\s<>()\"'`|\\]{1,500}|[A-Za-z0-9][\w.-]{0,100}")

Sharing = Literal["free", "conditional", "forbidden", "unknown"]


@dataclass(frozen=True)
class Licence:
    """A licence as a model card names it: ``identifier`` on the hub, and of one that the hub calls
    ``other`` its ``name`` and ``link``; all None where nothing says it."""

    identifier: str | None = None
    name: str | None = None
    link: str | None = None

    @classmethod
    def given(cls, identifier: str | None, name: str | None, link: str | None) -> Licence | None:
        """The licence that options name; None if they name none. Raises UsageError."""
        if identifier is None:
            if name or link:
                raise UsageError("--license-name and --license-link go with --license other")
            return None
        if not IDENTIFIER.fullmatch(identifier):
            raise UsageError(
                f"--license {identifier}: the hub calls licences apache-2.0, mit, llama3.2, …; "
                "other, with --license-name and --license-link, for one that it does not know"
            )
        if identifier == "other" and not name:
            raise UsageError("--license other: --license-name says which")
        if identifier != "other" and (name or link):
            raise UsageError("--license-name and --license-link go with --license other")
        if link is not None and not LINK.fullmatch(link):
            raise UsageError(f"--license-link {link}: give an address, or a file's name")
        return cls(identifier, name, link)

    @property
    def words(self) -> str:
        """Its name in sentences."""
        if self.identifier in (None, "other", "unknown"):
            return self.name or ("unknown" if self.identifier is None else str(self.identifier))
        return str(self.identifier)

    @property
    def terms(self) -> Terms:
        """The terms that are known of it."""
        by_name = self.identifier == "other"
        word = self.name if by_name else self.identifier
        known = _table()["names" if by_name else "identifiers"].get(word or "")
        if known is not None:
            return Terms(**known)
        conditions = "whether quantized copies may be shared, its text says, and no table here"
        return Terms(self.words, "unknown", conditions, self.link)


@dataclass(frozen=True)
class Terms:
    """Terms of a licence: whether quantized copies may be shared, on which ``conditions``, and the
    ``source`` of that.

    ``notice`` is a sentence that goes along with every copy, ``display`` words that stand where
    readers see them, ``prefix`` what the name of a model begins with.
    """

    name: str
    sharing: Sharing
    conditions: str
    source: str | None = None
    notice: str | None = None
    display: str | None = None
    prefix: str | None = None

    def objections(self, repository: str | None) -> Iterator[str]:
        """Reasons why copies may not be shared, as ``repository`` or at all."""
        if self.sharing == "forbidden":
            yield f"{self.name} forbids it: {self.conditions}"
        elif self.sharing == "unknown":
            yield f"{self.name}: {self.conditions}"
        name = (repository or "").rpartition("/")[2]
        if repository and self.prefix and not _letters(name).startswith(_letters(self.prefix)):
            yield f"{self.name}: a model's name begins with {self.prefix}, and {name} does not"


def _letters(name: str) -> str:
    """A name without what stands between its words."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def identifiers() -> list[str]:
    """The licences whose terms are known, as the hub calls them."""
    return [*_table()["identifiers"]]


def of_text(repository: str | None, digests: Iterable[str]) -> str | None:
    """The licence of a text by its data set on the hub, or by the SHA-256 of its files; None where
    the table does not know it."""
    texts = _table()["texts"]
    known = (texts.get(name) for name in (repository, *digests) if name)
    return next((str(words) for words in known if words), None)


@lru_cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    table: Mapping[str, Mapping[str, Any]] = json.loads(
        Path(__file__).with_name("licences.json").read_text(encoding="utf-8")
    )
    return table
