"""Words from elsewhere in Markdown and CSV, in which they mean nothing but themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from qpipe.report import text

# What Markdown reads as more than itself anywhere (underscores inside a word are none of it), and
# at the beginning of a line.
_MARKUP = r"[\\`*<>&|~]|(?<!\w)_|_(?!\w)|(?<=\])[(\[:]|(?<=[a-zA-Z]):(?=//)|(?<=\bwww)\."
_LEADING = r"^[\[#+=-]"
# What a spreadsheet takes for a formula.
_FORMULA = re.compile(r"\s*[=+@\-\t\r]")
_ESCAPE = r"\\\g<0>"


def escaped(line: str) -> str:
    """Words that begin a line of Markdown and mark up nothing."""
    words = plain(line).lstrip()
    number = re.match(r"\d+(?=[.)])", words)
    if number:
        return f"{number[0]}\\{words[number.end() :]}"
    return re.sub(_LEADING, _ESCAPE, words)


def plain(words: str) -> str:
    """Words in which Markdown finds no table, no HTML, no link and no emphasis."""
    return re.sub(_MARKUP, _ESCAPE, text.printable(words))


def piped(cells: Iterable[str]) -> str:
    """A line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def cell(value: Any) -> Any:
    """A value as a cell of CSV: a number as it is, words without control sequences, and with an
    apostrophe in front where a spreadsheet would compute them.

    A CSV is looked at in a terminal too.
    """
    if isinstance(value, (list, tuple)):
        value = " ".join(map(str, value))
    if not isinstance(value, str):
        return value
    shown = text.printable(value, lines=True)
    return f"'{shown}" if _FORMULA.match(shown) else shown
