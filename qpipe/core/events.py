"""What happened in a run, as data. Progress bars, logs and reports only listen."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from qpipe.core.key import Json

AFTER_FAILURE, FORESEEN = "an earlier failure", "a failure that is foreseen"
DISK_FULL = "a full disk"
"""Causes for which nodes are skipped that do without what failed: the run began nothing new after a
failure, nothing at all, or nothing more for want of room. Any other cause is the name of a node
that failed."""


@dataclass(frozen=True)
class Event:
    """Base of all events; ``at`` is seconds since the epoch."""

    at: float = field(default_factory=time.time, kw_only=True)

    def record(self) -> Mapping[str, Json]:
        """The event as JSON-ready data, its class name under ``event``."""
        return {"event": type(self).__name__, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class RunStarted(Event):
    """A run begins; ``nodes`` maps each node's id to its display name, in graph order, and
    ``made_for`` names the things that nodes are about."""

    nodes: Mapping[str, str]
    made_for: Sequence[str] = ()


@dataclass(frozen=True)
class NodeWaiting(Event):
    """Another process is making this artifact, and this run waits for it; or it waits for what
    other processes hold of this machine: ``why`` says what, and who does."""

    node: str
    name: str
    key: str
    why: str = ""


@dataclass(frozen=True)
class NodeStarted(Event):
    """A worker begins; ``log`` is the file that takes its output, if it has one.

    Of nodes that one worker makes in one pass, ``first`` is the first.
    """

    node: str
    name: str
    key: str
    log: str | None = None
    first: str | None = None


@dataclass(frozen=True)
class Estimated(Event):
    """About how many ``seconds`` nodes will take, by id, by what such nodes took before."""

    seconds: Mapping[str, float]


@dataclass(frozen=True)
class NodeProgress(Event):
    """A node's progress: ``done`` of ``total`` (0: unknown) in ``unit`` (bytes, tokens, …).

    A ``note`` without a total says what it does meanwhile, and nothing of how far it is.
    """

    node: str
    name: str
    done: int
    total: int
    unit: str
    note: str = ""


@dataclass(frozen=True)
class NodeFinished(Event):
    """A node ended. ``status`` is ran, cached, failed or skipped; ``seconds`` is the work's time.

    For a cached node ``seconds`` is what making it took then. ``error`` is the failure's message,
    or the name of the failed node that made this one skipped.
    """

    node: str
    name: str
    status: str
    key: str | None = None
    seconds: float = 0.0
    artifact: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class MadeAgain(Event):
    """A node was made though it was in the store; ``message`` says how that compares with before.

    ``differs`` if its bytes are others than those that were there under the same key.
    """

    node: str
    name: str
    message: str
    differs: bool


@dataclass(frozen=True)
class Warned(Event):
    """Something the user should know, though the run goes on."""

    message: str


@dataclass(frozen=True)
class Noted(Event):
    """Something that a run found out on its way, and goes on by."""

    message: str


@dataclass(frozen=True)
class RunFinished(Event):
    """A run ended; ``status`` is done, failed or interrupted; ``counts`` is nodes by status."""

    status: str
    counts: Mapping[str, int]
    seconds: float


Emit: TypeAlias = Callable[[Event], None]


def fan_out(listeners: Sequence[Emit]) -> Emit:
    """One emitter that tells every listener, in order."""

    def emit(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return emit
