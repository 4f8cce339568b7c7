"""The display of a run while it goes on: drawn anew in place on a terminal, plain lines elsewhere.

All on stderr. NO_COLOR, TERM=dumb and ``quiet`` are respected. Of up to `MANY` nodes each has a
line of its own; of more, what a user must know has one, and the rest is counted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Protocol

from qpipe.core.events import (
    Event,
    MadeAgain,
    NodeFinished,
    NodeStarted,
    NodeWaiting,
    Noted,
    RunFinished,
    Warned,
)
from qpipe.report import numbers
from qpipe.report.progress_rows import Region
from qpipe.report.run_state import ELSEWHERE, Tally, closing
from qpipe.report.skipped import EndedUnstarted
from qpipe.report.text import message

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live as RichLive

MANY = 60

# Kinds of lines that are shown whatever was asked for.
_ALWAYS = frozenset({"failed", "warning"})
# Kinds that are only counted when there are many nodes.
_ROUTINE = frozenset({"started", "ran", "cached", "again"})


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
        self._unstarted = EndedUnstarted()
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
            for line in closing(self._tally, time.time()):
                self._view.line(message(line), kind)
                kind = "info"
        self._tally.status = ""

    def _lines(self, event: Event) -> Iterator[tuple[str, str]]:
        if self._unstarted.takes(event):
            return
        yield from self._unstarted.lines(event)
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
            yield "counted", f"{self._tally.ended} of {self._tally.nodes} nodes have ended"


def _view(tally: Tally, stream: IO[str], *, quiet: bool) -> View:
    if stream.isatty() and os.environ.get("TERM") != "dumb" and not quiet:
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
        yield "waiting", f"waiting  {event.name}: {event.why or ELSEWHERE}"
    elif isinstance(event, NodeFinished):
        yield event.status, _ended(event)
    elif isinstance(event, MadeAgain):
        kind = "warning" if event.differs else "again"
        yield kind, f"{kind:<8} {event.name}: {event.message}"
    elif isinstance(event, Warned):
        yield "warning", f"warning  {event.message}"
    elif isinstance(event, Noted):
        yield "noted", event.message
    elif isinstance(event, RunFinished) and event.status == "interrupted":
        yield "info", "stopping the workers; what is finished is kept"


def _ended(event: NodeFinished) -> str:
    if event.status == "ran":
        return f"ran      {event.name}  {numbers.duration(event.seconds)}"
    if event.status == "failed":
        message = event.error or ""
        named = message if message.startswith(event.name) else f"{event.name}: {message}"
        return f"failed   {named}"
    return f"{event.status:<8} {event.name}"


_STYLES = {
    "ran": "green",
    "failed": "bold red",
    "warning": "yellow",
    "waiting": "cyan",
    "skipped": "yellow",
}
# Kinds that the region below, or the closing line, shows well enough.
_SILENT = frozenset({"started", "cached", "counted"})

_INTERRUPTING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

_REFRESHES_PER_SECOND = 8
_MOST_ROWS = 12

# Seconds between looks at how long the whole will take.
_ESTIMATE_EVERY = 1.0

# The column in which what follows the first word of a line begins.
_INDENT = 9


class Terminal:
    """A `View` with rich, which is imported once something really runs.

    rich draws from a thread of its own: ``update`` copies what it needs of the tally.
    """

    def __init__(self, tally: Tally, stream: IO[str], *, width: int | None = None) -> None:
        """Keep the tally; nothing is drawn yet. ``width`` overrides the terminal's."""
        self._tally = tally
        self._stream = stream
        self._width = width
        self._console: Console | None = None
        self._live: RichLive | None = None
        self._lock = threading.Lock()
        self._region = Region([], 0, 0, 0.0, 0.0)
        self._left: float | None = None
        self._left_at = 0.0

    def line(self, text: str, kind: str) -> None:
        """Print a line above the region that is drawn anew."""
        if kind not in _SILENT:
            from rich.text import Text

            console = self._get_console()
            first, newline, rest = text.partition("\n")
            wrapped = "\n".join(_wrapped(first, console.width))
            styled = Text.assemble((wrapped, _STYLES.get(kind, "")), newline, rest)
            console.print(styled, soft_wrap=True)

    def update(self) -> None:
        """Take over the nodes in progress; the first time, begin to draw."""
        now = time.time()
        if now - self._left_at >= _ESTIMATE_EVERY:
            self._left, self._left_at = self._tally.left(now), now
        active = self._tally.active(now)
        region = Region(
            active, self._tally.nodes, self._tally.ended, self._tally.since, now, self._left
        )
        with self._lock:
            self._region = region
        if active and self._live is None:
            from rich.live import Live

            self._live = Live(
                get_renderable=self._render,
                console=self._get_console(),
                refresh_per_second=_REFRESHES_PER_SECOND,
                transient=True,
                # rich 15.0 would lead stdout to the console, which is stderr's.
                redirect_stdout=False,
            )
            with _undisturbed():
                self._live.start()

    def close(self) -> None:
        """Take the region away."""
        if self._live is not None:
            with _undisturbed():
                self._live.stop()
            self._live = None

    def _get_console(self) -> Console:
        if self._console is None:
            from rich.console import Console

            self._console = Console(file=self._stream, width=self._width, highlight=False)
        return self._console

    def _render(self) -> RenderableType:
        from rich.text import Text

        with self._lock:
            region = self._region
        console = self._get_console()
        most = max(1, min(_MOST_ROWS, console.height - 3))
        rows = region.later(time.time()).rows(
            console.width, most, ascii_only=console.options.ascii_only
        )
        return Text("\n", no_wrap=True, overflow="crop").join(rows)


def _wrapped(line: str, width: int) -> list[str]:
    """A line as several of a terminal's, at blanks alone: a path stays whole, to be copied."""
    return textwrap.wrap(
        line,
        width,
        subsequent_indent=" " * (4 if line.startswith(" ") else _INDENT),
        drop_whitespace=True,
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [line]


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold back signals that would interrupt a block, until its end.

    rich (15.0) hides the cursor first and notes last what it would take back: a display whose start
    was interrupted between the two can no longer be stopped.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = {number: signal.getsignal(number) for number in _INTERRUPTING}
    handlers = {number: handler for number, handler in before.items() if handler is not None}
    for number in handlers:
        signal.signal(number, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for came in held:
            signal.raise_signal(came)
