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
class Job:
    """One node, ready to run: where its inputs are and the folder that it must fill.

    ``partial`` outlives an attempt that fails (`Claim.partial`).
    ``origins`` say how each input was made (`Manifest.origin`).
    ``lock_fd`` is the claim's lock, which a worker process inherits. ``needs`` is what it occupies.
    """

    node: Node
    key: str
    inputs: Mapping[str, Path]
    out: Path
    partial: Path
    lock_fd: int
    needs: Resources
    origins: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """A worker's output: the files it wrote (hashed), what it found out, and what it took."""

    files: Sequence[FileEntry]
    facts: Mapping[str, Json] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    tools: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """The end of a job: an output, or the error that ended it."""

    job: Job
    outcome: Output | QpipeError


@dataclass(frozen=True)
class Progress:
    """A sign of life: ``done`` of ``total`` (0: unknown) in ``unit``."""

    job: Job
    done: int
    total: int
    unit: str
    note: str = ""


class Executor(Protocol):
    """Runs jobs somewhere. Used by one thread."""

    def has_room(self, needs: Resources) -> bool:
        """Return whether a job with these needs may start now without overbooking."""

    def check(self, needs: Resources) -> str | None:
        """Why these needs can never be met here, or None."""

    def submit(self, *jobs: Job) -> str | None:
        """Start one worker on a job, or on several that read an input once for all.

        Their needs are the same and are met once. The path of the log, if there is one.
        """

    def wait(self, timeout: float) -> Sequence[Done | Progress]:
        """Wait up to ``timeout`` seconds for something to happen; the ends and progress of jobs."""

    def cancel(self) -> None:
        """Stop all jobs now, for good; their ends are not reported any more."""
