"""Overrides that Hydra's grammar refuses for their characters alone, quoted for it.

Without quotes Hydra (1.3) reads letters of ASCII, digits and a few signs; a path such as 故事模型,
``~/models`` or ``/data/model (v2)`` is an error. Such a value is put in quotes here. What the
grammar reads stays as it is, and so does what it cannot read for another reason: a bracket or a
quote that is not closed, an unknown function.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from qpipe.errors import RecipeError, placed

# ``key=``, ``+key=``, ``++key=``, and the value.
_OVERRIDE = re.compile(r"(?P<key>\+{0,2}[\w./@:-]+=)(?P<value>.*)", re.DOTALL)
# Nothing but what Hydra reads in a value without quotes: if it refuses that, quotes do not help.
_READ = re.compile(r"[A-Za-z0-9_/\-+.$%*@?|:, \t]*")
# Lists, mappings, quotes, escapes, interpolations, a function, and a second equals sign: meant as
# syntax, even where it is wrong.
_SYNTAX = re.compile(r".*[\[\]{}'\"\\$\n]|\s*\w+\(|\s*=", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class QuotedOverrides:
    """Overrides as Hydra reads them, and what their users wrote in the place of each quote."""

    texts: tuple[str, ...]
    words: Mapping[str, str]

    @contextmanager
    def in_users_words(self) -> Iterator[None]:
        """Have the errors of a block show values as they were written."""
        try:
            yield
        except RecipeError as error:
            error.args = (self.as_given(str(error)), *error.args[1:])
            raise

    def as_given(self, text: str) -> str:
        """Return ``text`` with values as they were written."""
        return placed(text, self.words)


UNQUOTED = QuotedOverrides((), {})
"""No override was put in quotes."""


def quoted(texts: Iterable[str]) -> QuotedOverrides:
    """Put values in quotes, each of several, where Hydra's grammar does not take them as they are
    and takes them so."""
    words: dict[str, str] = {}
    return QuotedOverrides(tuple(_quoted(text, words) for text in texts), words)


def _quoted(text: str, words: dict[str, str]) -> str:
    match = _OVERRIDE.fullmatch(text)
    if match is None or _READ.fullmatch(match["value"]) or _SYNTAX.match(match["value"]):
        return text
    if _reads(text):
        return text
    key, values = match["key"], match["value"].split(",")
    pieces = [value if _reads(f"{key}{value}") else _in_quotes(value) for value in values]
    tried = f"{key}{','.join(pieces)}"
    if not _reads(tried):
        return text
    words.update({p: v for p, v in zip(pieces, values, strict=True) if p != v})
    words[tried] = text
    return tried


def _reads(text: str) -> bool:
    """Tell whether Hydra's grammar takes a text as an override."""
    try:
        OverridesParser.create().parse_override(text)
    except HydraException:
        return False
    return True


def _in_quotes(value: str) -> str:
    inside = value.strip()
    return value.replace(inside, f'"{inside}"') if inside else value
