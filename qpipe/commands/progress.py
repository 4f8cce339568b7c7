"""A line on a terminal that says how far something is, and goes when it has ended."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from qpipe.commands.output import say


class ProgressLine:
    """The last line on stderr; nothing where ``shown`` is False."""

    def __init__(self, *, shown: bool) -> None:
        """Nothing is written yet."""
        self._shown, self._words = shown, ""

    def show(self, words: str) -> None:
        """Put ``words`` in place of what the line says."""
        if self._shown and words != self._words:
            print(f"\r\033[K{words}", end="", file=sys.stderr, flush=True)
            self._words = words

    def clear(self) -> None:
        """Take the line away."""
        if self._words:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._words = ""

    def share(self, doing: str, done: int, total: int) -> None:
        """Show how much of ``total`` bytes is done, in percent."""
        from qpipe.report.numbers import size

        share = f"{100 * done // total} %" if total else ""
        self.show(f"{doing} {size(total)}  {share}".rstrip())

    def of(self, doing: str) -> Callable[[int, int], None]:
        """A function that takes (bytes done, bytes in all) and shows them."""
        return lambda done, total: self.share(doing, done, total)

    def note(self, sentence: str) -> None:
        """Print a sentence that stays, on a line of its own."""
        self.clear()
        say(sentence, file=sys.stderr)


@contextmanager
def progress_line(*, quiet: bool = False) -> Iterator[ProgressLine]:
    """A line for the block, on a terminal alone and not if ``quiet``."""
    line = ProgressLine(shown=not quiet and sys.stderr.isatty())
    try:
        yield line
    finally:
        line.clear()
