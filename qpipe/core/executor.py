"""What the runner asks of an executor: implementations are in qpipe/executors/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from qpipe.core.graph import Node, Resources
from qpipe.core.key import Json
from qpipe.core.manifest import FileEntry, Usage
from qpipe.errors import QpipeError


@dataclass(frozen=True)
class WorkItem:
    """One node, ready to run: where its inputs are and the folder that it must fill.

    ``partial`` outlives an attempt that fails (`Claim.partial`).
    ``origins`` say how each input was made (`Manifest.origin`).
    ``lock_fd`` is the claim's lock, which a worker process inherits. ``needs`` is what it occupies.
    ``hashes`` is the folder of the store's `core.digests.Digests`; None: nothing is known.
    """

    node: Node
    key: str
    inputs: Mapping[str, Path]
    out: Path
    partial: Path
    lock_fd: int
    needs: Resources
    origins: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    hashes: Path | None = None


@dataclass(frozen=True)
class WorkOutput:
    """A worker's output: the files it wrote (hashed), what it found out, and what it took."""

    files: Sequence[FileEntry]
    facts: Mapping[str, Json] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    tools: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkEnd:
    """The end of a work item: an output, or the error that ended it."""

    item: WorkItem
    outcome: WorkOutput | QpipeError


@dataclass(frozen=True)
class WorkProgress:
    """A sign of life: ``done`` of ``total`` (0: unknown) in ``unit``."""

    item: WorkItem
    done: int
    total: int
    unit: str
    note: str = ""


class Executor(Protocol):
    """Runs work items somewhere. Used by one thread."""

    def has_room(self, needs: Resources) -> bool:
        """Return whether a work item with these needs may start now without overbooking."""

    def held_up(self) -> str:
        """Say what other processes hold, and who, for want of which `has_room` was last False, as
        ``for a GPU, held by …``; empty if that was not why."""

    def fits(self, needs: Sequence[Resources]) -> bool:
        """Return whether work items with these needs could run at one time, if no other did."""

    def foresee(self, nodes: Sequence[Node]) -> None:
        """Take note of nodes that may come, to have ready what several of them need."""

    def check(self, needs: Resources) -> str | None:
        """Why these needs can never be met here, or None."""

    def submit(self, *items: WorkItem) -> Sequence[str | None]:
        """Start one worker on a work item, or on several that read an input once for all.

        Their needs are the same and are met once. The path of the log of each, if there is one.
        """

    def wait(self, timeout: float) -> Sequence[WorkEnd | WorkProgress]:
        """Wait up to ``timeout`` seconds for something to happen; return ends and progress."""

    def rest(self) -> None:
        """Take note that nothing more is to come for now, and keep nothing ready for it."""

    def cancel(self) -> None:
        """Stop all work items now, for good; their ends are not reported any more."""
