"""What a run is asked for beside its graph: what goes on after a failure, what is made again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from qpipe.core.graph import Node
from qpipe.core.manifest import Manifest
from qpipe.errors import QpipeError

Lacks: TypeAlias = Callable[[Node], "str | None"]
"""Why a node cannot run on this machine, or None."""

Refuses: TypeAlias = Callable[[Node], "QpipeError | None"]
"""What a node would fail with, as far as that is known before anything runs, or None."""

Compares: TypeAlias = Callable[[Manifest, Manifest], str]
"""The figures that differ between an artifact as it was and as it is now, in words, or nothing."""

Shortage: TypeAlias = Callable[[Sequence[Node]], str]
"""How much room there is, and what these nodes take, as words after a sentence, or nothing."""


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run.

    Without ``keep_going`` nothing new starts after a failure. Before the first node starts, those
    fail that the executor, ``lacks`` or ``refuses`` refuse; with ``leave_out`` (None: as
    ``keep_going``) the others start all the same.

    Of the nodes that can start, those start first that the first of the ``jobs`` needs (each the
    ids of its nodes), and of these the deepest.

    Nodes whose ids are in ``again`` are made though they are in the store; ``compares`` says which
    figures came out otherwise. Where the disk is full the run ends, whatever else it is asked for:
    all that is left would fail likewise. ``shortage`` says what that takes.

    With ``results_only`` what nothing of the run needs any more goes (`qpipe.core.dropping`), but
    for what the stages ``results`` made.
    """

    keep_going: bool = False
    leave_out: bool | None = None
    lacks: Lacks = lambda node: None
    refuses: Refuses = lambda node: None
    jobs: Sequence[Iterable[str]] = ()
    again: Collection[str] = ()
    compares: Compares = lambda before, after: ""
    shortage: Shortage = lambda nodes: ""
    results_only: bool = False
    results: Collection[str] = ()

    @property
    def leaves_out(self) -> bool:
        """True if what is not foreseen to fail runs though something else is."""
        return self.keep_going if self.leave_out is None else self.leave_out
