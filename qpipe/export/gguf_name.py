"""GGUF files' names by the convention: BaseName-SizeLabel-FineTune-Version-Encoding.gguf.

Source: ggml, docs/gguf.md, "GGUF Naming Convention", whose own pattern is `PATTERN`: it takes no
dot in a base or a fine-tune, and asks for a size and a version (v1.0 where none is known).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

PATTERN = re.compile(
    r"(?:(?P<sidecar>mmproj|mtp)-)?"
    r"(?P<base>[A-Za-z0-9\s]*(?:(?:-(?:(?:[A-Za-z\s][A-Za-z0-9\s]*)|(?:[0-9\s]*)))*))-"
    r"(?:(?P<size>(?:\d+x)?(?:\d+\.)?\d+[A-Za-z](?:-[A-Za-z]+(\d+\.)?\d+[A-Za-z]+)?)"
    r"(?:-(?P<finetune>[A-Za-z0-9\s-]+))?)?-"
    r"(?:(?P<version>v\d+(?:\.\d+)*))"
    r"(?:-(?P<encoding>(?!LoRA|vocab)[\w_]+))?"
    r"(?:-(?P<kind>LoRA|vocab))?"
    r"(?:-(?P<shard>\d{5}-of-\d{5}))?\.gguf",
    re.ASCII,
)
"""The pattern of the convention, to be matched with a whole name."""

FIRST_VERSION = "v1.0"
NO_NAME = "model"

_SIZE = re.compile(r"(?:\d+x)?(?:\d+\.)?\d+[A-Za-z]")
_ATTRIBUTE = re.compile(r"[A-Za-z]+(?:\d+\.)?\d+[A-Za-z]+")
_VERSION = re.compile(r"v?(\d+(?:\.\d+)*)", re.IGNORECASE)
_BASE_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*|[0-9]+")
# llama.cpp takes files with these in their names for something else than a model
# (common/download.cpp, gguf_filename_is_model).
_NO_MODEL = re.compile(r"mmproj|imatrix|(?:mtp|eagle3|dflash|dspark)$")
_LONGEST = 150
"""Characters of base and fine-tune; encoding, part and suffix come behind."""


@dataclass(frozen=True)
class GgufName:
    """A model by its name: each part as the pattern reads it back."""

    base: str
    size: str
    finetune: str | None = None
    version: str = FIRST_VERSION

    @classmethod
    def of(
        cls, base: str, size: str, finetune: str | None = None, version: str | None = None
    ) -> GgufName:
        """Take words of any script and spelling: what the pattern has no room for is written
        otherwise, or goes. ``size`` begins with a size as in 7B, 8x7B or 30B-A3B."""
        first, *others = size.split("-")
        if _SIZE.fullmatch(first) is None:
            raise ValueError(f"{size!r} is no size")
        rest = [word for other in [*others, *_lines(finetune)] for word in _words(other)]
        number = _VERSION.fullmatch(version or "")
        if number is None:
            rest += _words(version or "")
        if rest and _ATTRIBUTE.fullmatch(rest[0]):
            first = f"{first}-{rest.pop(0)}"
        return cls(
            _cut("-".join(_base(_words(base)))) or NO_NAME,
            first,
            _cut("-".join(rest)) or None,
            FIRST_VERSION if number is None else f"v{number[1]}",
        )

    @property
    def stem(self) -> str:
        """The name up to the version."""
        return "-".join(filter(None, (self.base, self.size, self.finetune, self.version)))


def is_size(word: str) -> bool:
    """True for what a name can have as its size: 7B, 8x7B."""
    return _SIZE.fullmatch(word.partition("-")[0]) is not None


def plain(words: str) -> str:
    """Letters without accents, digits and ASCII signs; what has no such form goes."""
    return unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode()


def _words(text: str) -> list[str]:
    words = re.findall(r"[A-Za-z0-9]+", plain(text))
    return [word.upper() if _NO_MODEL.search(word) else word for word in words]


def _lines(text: str | None) -> list[str]:
    return [] if text is None else [text]


def _base(words: Iterable[str]) -> list[str]:
    """The words of a base: one that begins with a digit and has letters (3n) would be read as a
    size, and joins the one before it."""
    joined: list[str] = []
    for word in words:
        while joined and not _BASE_WORD.fullmatch(word):
            word = joined.pop() + word
        joined.append(word)
    return joined


def _cut(words: str) -> str:
    return words[:_LONGEST].rstrip("-")
