"""What a run looks like while it goes on: a live display on a terminal, plain lines elsewhere.

All on stderr. NO_COLOR, TERM=dumb and ``quiet`` are respected. Of up to `MANY` nodes each has a
line of its own; of more, what a user must know has one, and the rest is counted.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import IO, Protocol

from qpipe.core.events import Event, NodeFinished, NodeStarted, NodeWaiting, RunFinished, Warned
from qpipe.report import numbers
from qpipe.report.run_state import Tally, closing
from qpipe.report.text import message

MANY = 60

# Kinds of lines that are shown whatever was asked for.
_ALWAYS = frozenset({"failed", "warning"})
# Kinds that are only counted when there are many nodes.
_ROUTINE = frozenset({"started", "ran", "cached", "skipped"})


class View(Protocol):
    """A way to show lines, and what is going on meanwhile."""

    def line(self, text: str, kind: str) -> None:
        """Show a line (or a few) for good."""

    def update(self) -> None:
        """Take note that the tally has changed."""

    def close(self) -> None:
        """Show lines only, from now on."""


class Live:
    """A listener that shows a run. ``close`` sums up and leaves the terminal as it was."""

    def __init__(self, *, quiet: bool = False, stream: IO[str] | None = None) -> None:
        """Show failures and warnings only if ``quiet``; ``stream`` is stderr unless given."""
        stream = stream or sys.stderr
        self._quiet = quiet
        self._tally = Tally()
        self._tenths = 0
        self._view = _view(self._tally, stream, quiet=quiet)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        self._tally.add(event)
        self._view.update()
        for kind, text in self._lines(event):
            if kind in _ALWAYS or not self._quiet:
                self._view.line(message(text), kind)

    def close(self) -> None:
        """Sum up. Called again, it does nothing."""
        self._view.close()
        if self._tally.status == "failed" or (self._tally.status and not self._quiet):
            kind = "failed" if self._tally.status == "failed" else "info"
            self._view.line(message("\n".join(closing(self._tally, time.time()))), kind)
        self._tally.status = ""

    def _lines(self, event: Event) -> Iterator[tuple[str, str]]:
        if self._tally.nodes <= MANY:
            yield from _describe(event)
            return
        yield from (line for line in _describe(event) if line[0] not in _ROUTINE)
        if isinstance(event, NodeFinished):
            yield from self._tenth()

    def _tenth(self) -> Iterator[tuple[str, str]]:
        """A line whenever another tenth of the nodes has ended."""
        tenths = 10 * self._tally.ended // self._tally.nodes
        if tenths > self._tenths:
            self._tenths = tenths
            yield "info", f"{self._tally.ended} of {self._tally.nodes} nodes have ended"


def _view(tally: Tally, stream: IO[str], *, quiet: bool) -> View:
    if stream.isatty() and os.environ.get("TERM") != "dumb" and not quiet:
        from qpipe.report.terminal import Terminal

        return Terminal(tally, stream)
    return Lines(stream)


class Lines:
    """Plain lines: for logs, pipes and dumb terminals."""

    def __init__(self, stream: IO[str]) -> None:
        """Keep the stream; nothing is written yet."""
        self._stream = stream

    def line(self, text: str, kind: str) -> None:
        """Write a line."""
        print(text, file=self._stream, flush=True)

    def update(self) -> None:
        """Do nothing: progress has no lines."""

    def close(self) -> None:
        """Do nothing: there is nothing to take back."""


def _describe(event: Event) -> Iterator[tuple[str, str]]:
    """Kind and text of the line that an event deserves, if any."""
    if isinstance(event, NodeStarted):
        yield "started", f"start    {event.name}"
    elif isinstance(event, NodeWaiting):
        yield "waiting", f"waiting  {event.name}: another process is making it"
    elif isinstance(event, NodeFinished):
        yield event.status, _ended(event)
    elif isinstance(event, Warned):
        yield "warning", f"warning  {event.message}"
    elif isinstance(event, RunFinished) and event.status == "interrupted":
        yield "info", "stopping the workers; what is finished is kept"


def _ended(event: NodeFinished) -> str:
    if event.status == "ran":
        return f"ran      {event.name}  {numbers.duration(event.seconds)}"
    if event.status == "failed":
        message = event.error or ""
        named = message if message.startswith(event.name) else f"{event.name}: {message}"
        return f"failed   {named}"
    if event.status == "skipped":
        return f"skipped  {event.name} (because of {event.error})"
    return f"{event.status:<8} {event.name}"
