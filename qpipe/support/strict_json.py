"""JSON that somebody else wrote: taken only as what every reader takes it for.

`json` alone lets a second value of a key, half characters
and any depth pass.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from qpipe.errors import QpipeError, quoted
from qpipe.support.files import read_file

TYPE_CHECKING = False  # typing's own would cost `qpipe ls` the import of typing
if TYPE_CHECKING:
    from typing import Any

MOST = 100_000_000
"""Bytes of the largest file that is read: twice those of the longest tokenizer.json. Values may
take twenty times the memory that their text does."""

MOST_LEVELS = 100
"""Objects and lists inside each other: what walks through them may recurse."""

_HALF = re.compile("[\ud800-\udfff]")


class DuplicateKeyError(ValueError):
    """An object names the same key twice."""


def parse(text: bytes) -> Any:
    """The value in ``text``. Raises `ValueError`, in words for a message.

    NaN and Infinity are read as Python and transformers read and write them.
    """
    if text.startswith(b"\xef\xbb\xbf"):
        raise ValueError("it begins with a byte order mark, which JSON has not: save it without")
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (json.JSONDecodeError, UnicodeDecodeError, DuplicateKeyError):
        raise
    except ValueError:  # int's own limit, which its message tells Python's users how to raise
        raise ValueError("a number in it has thousands of digits") from None
    if text.count(b"[") + text.count(b"{") > MOST_LEVELS and _levels(value) > MOST_LEVELS:
        raise ValueError("it is nested too deeply")
    # Half of a character can come from an escape only, and no UTF-8 can be made of it.
    if (b"\\ud" in text or b"\\uD" in text) and _HALF.search(json.dumps(value, ensure_ascii=False)):
        raise ValueError("a string in it has half of a character (an unpaired \\ud800…\\udfff)")
    return value


def load(path: Path, error: type[QpipeError], *, most: int = MOST) -> Any:
    """The value in the file ``path`` of ``most`` bytes. Raises ``error``, naming the file."""
    try:
        return parse(read_file(path, error, most=most))
    except ValueError as problem:
        raise error(f"{path}: not usable as JSON: {problem}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        names: set[str] = set()
        for name, _ in pairs:
            if name in names:
                raise DuplicateKeyError(f"the key {quoted(name)} appears twice")
            names.add(name)
    return unique


def _levels(value: Any) -> int:
    level, levels = [value], 0
    while level:
        levels += 1
        level = [
            child
            for container in level
            for child in (container.values() if isinstance(container, dict) else container)
            if isinstance(child, (dict, list))
        ]
    return levels
