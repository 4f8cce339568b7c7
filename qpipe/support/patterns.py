"""Regular expressions that came with a file, matched in linear time, whatever they say.

Python's `re` tries one way after the other, and for ``(a+)+b`` there are as many as two to the
power of the text's length. Here all ways are followed at once: a set of places in the text is one
integer, a bit for each, and every part of the expression takes such a set to the next (Thompson,
Comm. ACM 11 (1968) 419). Expressions are parsed by Python itself, so that they mean the same.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

try:
    from re import _parser as parser  # type: ignore[attr-defined]
except ImportError:  # Python 3.10
    import sre_parse as parser

_LONGEST = 1000
_STEPS = 100_000
"""For one text: what a checkpoint's rules say of one of its names takes a hundredth."""

_SINGLE = ("LITERAL", "NOT_LITERAL", "ANY", "IN")
_MANY = 1000
_WORD = [("CATEGORY", "CATEGORY_WORD")]

_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdecimal,
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_WORD": lambda c: c.isalnum() or c == "_",
}


def matches(pattern: str, text: str) -> bool:
    """Return whether ``pattern`` matches at the beginning of ``text``, as `re.match` has it.

    Raises ValueError for what is no regular expression, for what no such matching can decide (back
    references, looking behind, flags), and for what is too long.
    """
    if max(len(pattern), len(text)) > _LONGEST:
        raise ValueError(f"longer than {_LONGEST} characters")
    parsed, repeats = _parsed(pattern)
    if len(text) ** repeats <= _STEPS:
        return re.match(pattern, text) is not None
    return _Text(text).after(parsed, 1) != 0


@lru_cache(maxsize=1024)
def _parsed(pattern: str) -> tuple[Any, int]:
    """The expression, and how many repeats `re` may have to try against each other."""
    try:
        with warnings.catch_warnings():  # of what a later Python may read otherwise
            warnings.simplefilter("ignore")
            parsed = parser.parse(pattern)
            re.compile(pattern)
    except re.error as error:
        raise ValueError(str(error)) from None
    except (RecursionError, OverflowError):
        raise ValueError("it is nested too deeply") from None
    if parsed.state.flags & ~re.UNICODE:
        raise ValueError("flags have no place in it")
    return parsed, sum(map(_repeats, parsed))


def _repeats(part: tuple[Any, Any]) -> int:
    """The number of repeats in a part of the expression; many for a repeat of more than a single
    character, or for what is unknown here."""
    kind, value = str(part[0]), part[1]
    if kind in ("MAX_REPEAT", "MIN_REPEAT"):
        inner = list(value[2])
        return 1 if len(inner) == 1 and str(inner[0][0]) in _SINGLE else _MANY
    if kind == "SUBPATTERN" and not (value[1] or value[2]):
        return sum(map(_repeats, value[3]))
    if kind == "BRANCH":
        return sum(_repeats(part) for way in value[1] for part in way)
    if kind in ("ASSERT", "ASSERT_NOT") and value[0] > 0:
        return sum(map(_repeats, value[1]))
    return 0 if kind in (*_SINGLE, "AT") else _MANY


class _Text:
    """A text, and the places in it that parts of an expression lead to."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.steps = 0
        self._masks: dict[tuple[str, int], int] = {}

    def after(self, parts: Iterable[tuple[Any, Any]], places: int) -> int:
        """The places where a sequence of parts can end, begun at any of ``places``."""
        for kind, value in parts:
            if not places:
                break
            self.steps += 1
            if self.steps > _STEPS:
                raise ValueError("it takes too long to match")
            places = self._one(str(kind), value, places)
        return places

    def _one(self, kind: str, value: Any, places: int) -> int:
        if kind == "BRANCH":
            ends = 0
            for way in value[1]:
                ends |= self.after(way, places)
            return ends
        if kind == "SUBPATTERN":
            _, added, removed, inner = value
            if added or removed:
                raise ValueError("flags have no place in it")
            return self.after(inner, places)
        if kind in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, inner = value
            return self._repeated(least, int(most), inner, places)
        if kind == "AT":
            return places & self._at(str(value))
        if kind in ("ASSERT", "ASSERT_NOT") and value[0] > 0:
            ahead = (place for place in self._each(places) if self.after(value[1], place))
            matching = sum(ahead)
            return matching if kind == "ASSERT" else places & ~matching
        return (places & self._where(kind, value)) << 1

    def _repeated(self, least: int, most: int, inner: Any, places: int) -> int:
        for _ in range(min(least, _STEPS)):
            places = self.after(inner, places)
            self.steps += 1
        reached, fresh, count = places, places, least
        while fresh and count < most:
            fresh = self.after(inner, fresh) & ~reached
            reached, count = reached | fresh, count + 1
        return reached

    def _each(self, places: int) -> Iterable[int]:
        while places:
            lowest = places & -places
            yield lowest
            places ^= lowest

    def _at(self, kind: str) -> int:
        first, last = 1, 1 << len(self.text)
        if kind in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
            return first
        if kind == "AT_END":
            return last | (last >> 1 if self.text.endswith("\n") else 0)
        if kind == "AT_END_STRING":
            return last
        words = self._where("IN", _WORD)
        edges = (words ^ (words << 1)) & ((last << 1) - 1)
        return edges if kind == "AT_BOUNDARY" else ~edges & ((last << 1) - 1)

    def _where(self, kind: str, value: Any) -> int:
        """The places at which a character fits."""
        key = kind, id(value) if kind == "IN" else value
        if key not in self._masks:
            fits = _class([(kind, value)] if kind != "IN" else value)
            self._masks[key] = sum(1 << at for at, c in enumerate(self.text) if fits(c))
        return self._masks[key]


def _class(members: Iterable[tuple[Any, Any]]) -> Callable[[str], bool]:
    """The test of a single character."""
    kinds = [(str(kind), value) for kind, value in members]
    negated = ("NEGATE", None) in kinds
    tests = [_test(name, value) for name, value in kinds if name != "NEGATE"]
    return lambda c: any(test(c) for test in tests) != negated


def _test(name: str, value: Any) -> Callable[[str], bool]:
    if name == "ANY":
        return lambda c: c != "\n"
    if name == "LITERAL":
        return lambda c: bool(ord(c) == value)
    if name == "NOT_LITERAL":
        return lambda c: bool(ord(c) != value)
    if name == "RANGE":
        return lambda c: bool(value[0] <= ord(c) <= value[1])
    if name == "CATEGORY":
        test = _CATEGORIES[str(value).replace("_NOT_", "_")]
        return (lambda c: not test(c)) if "_NOT_" in str(value) else test
    raise ValueError(f"{name.lower().replace('_', ' ')} has no place in it")
