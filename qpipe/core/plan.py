"""Everything that a command will run: one graph, and the jobs that it was merged from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qpipe.core.graph import Graph


@dataclass(frozen=True)
class PlannedJob:
    """One job of a plan: its label, its nodes' ids by stage name, and the reference's id."""

    label: str
    overrides: Sequence[str]
    nodes: Mapping[str, str]
    reference: str | None


@dataclass(frozen=True)
class Plan:
    """One graph for all ``jobs``."""

    graph: Graph
    jobs: Sequence[PlannedJob]
