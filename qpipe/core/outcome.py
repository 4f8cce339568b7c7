"""How nodes of a run ended, and the run with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from qpipe.core.events import NodeFinished
from qpipe.core.graph import Node
from qpipe.core.store import Artifact
from qpipe.errors import QpipeError

Status = Literal["ran", "cached", "failed", "skipped", "waiting"]
"""waiting: in a run that goes on or was broken off, of a node that has not ended."""


@dataclass(frozen=True)
class Outcome:
    """The end of a node; ``seconds`` is what making its artifact took (now or then)."""

    node: Node
    status: Status
    artifact: Artifact | None = None
    error: QpipeError | None = None
    blocked_by: str | None = None

    @property
    def seconds(self) -> float:
        """Wall seconds of the work, 0 without an artifact."""
        return self.artifact.manifest.usage.seconds if self.artifact else 0.0


@dataclass
class RunResult:
    """All outcomes by node id, in graph order."""

    outcomes: Mapping[str, Outcome]

    @property
    def status(self) -> str:
        """``done`` if every node has its artifact, else ``failed``."""
        return "failed" if any(o.artifact is None for o in self.outcomes.values()) else "done"

    @property
    def counts(self) -> dict[str, int]:
        """Number of nodes by status."""
        return dict(Counter(o.status for o in self.outcomes.values()))


def finished(outcome: Outcome) -> NodeFinished:
    """The event of a node's end."""
    node, artifact = outcome.node, outcome.artifact
    return NodeFinished(
        node.id,
        node.name,
        outcome.status,
        key=artifact.key if artifact else None,
        seconds=outcome.seconds,
        artifact=str(artifact.path) if artifact else None,
        error=str(outcome.error) if outcome.error else outcome.blocked_by,
    )
