"""The display of a run while it goes on: drawn anew in place on a terminal, plain lines elsewhere.

All on stderr. NO_COLOR, TERM=dumb and ``quiet`` are respected. Of up to `MANY` nodes each has a
line of its own; of more, what a user must know has one, and the rest is counted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
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
    RunFinished,
    Warned,
)
from qpipe.report import numbers
from qpipe.report.run_state import Active, Tally, amount, closing
from qpipe.report.skipped import EndedUnstarted
from qpipe.report.text import message, printable

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
            self._view.line(message("\n".join(closing(self._tally, time.time()))), kind)
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
            yield "info", f"{self._tally.ended} of {self._tally.nodes} nodes have ended"


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
        yield "waiting", f"waiting  {event.name}: another process is making it"
    elif isinstance(event, NodeFinished):
        yield event.status, _ended(event)
    elif isinstance(event, MadeAgain):
        kind = "warning" if event.differs else "again"
        yield kind, f"{kind:<8} {event.name}: {event.message}"
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
    return f"{event.status:<8} {event.name}"


_STYLES = {
    "ran": "green",
    "failed": "bold red",
    "warning": "yellow",
    "waiting": "cyan",
    "skipped": "yellow",
}
# Kinds that the region below, or the closing line, shows well enough.
_SILENT = frozenset({"started", "cached"})

_INTERRUPTING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

_REFRESHES_PER_SECOND = 8
_BAR = 24
_MOST_ROWS = 12


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
        self._active: list[Active] = []
        self._ended = 0

    def line(self, text: str, kind: str) -> None:
        """Print a line above the region that is drawn anew."""
        if kind not in _SILENT:
            from rich.text import Text

            first, newline, rest = text.partition("\n")
            styled = Text.assemble((first, _STYLES.get(kind, "")), newline, rest)
            self._get_console().print(styled, soft_wrap=True)

    def update(self) -> None:
        """Take over the nodes in progress; the first time, begin to draw."""
        with self._lock:
            self._active = list(self._tally.active.values())
            self._ended = self._tally.ended
        if self._active and self._live is None:
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
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            active, ended = list(self._active), self._ended
        now = time.time()
        most = max(1, min(_MOST_ROWS, self._get_console().height - 3))
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1, min_width=12)
        for _ in range(4):
            table.add_column(no_wrap=True)
        for node in active[:most]:
            table.add_row(*_row(node, now))
        rest = [f"… and {len(active) - most} more"] if len(active) > most else []
        waiting = sum(node.waiting for node in active)
        words = [f"{ended} of {self._tally.nodes} nodes", f"{len(active) - waiting} running"]
        words += [f"{waiting} waiting for another process"] if waiting else []
        words.append(numbers.duration(max(0.0, now - self._tally.since)))
        return Group(table, Text("\n".join([*rest, " · ".join(words)]), style="dim"))


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


def _row(node: Active, now: float) -> list[RenderableType]:
    """The cells of a node's line: name, bar, amount, time to go, time gone."""
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    elapsed = numbers.duration(max(0.0, now - node.since))
    if node.waiting:
        return [
            Text(printable(node.name)),
            Text("another process is making it", "cyan"),
            "",
            "",
            elapsed,
        ]
    bar = ProgressBar(
        total=node.total or None, completed=node.done, width=_BAR, pulse=not node.total
    )
    eta = node.eta(now)
    to_go = "" if eta is None else f"{numbers.duration(eta)} to go"
    note = Text(printable(amount(node) or node.note))
    return [Text(printable(node.name)), bar, note, to_go, elapsed]
