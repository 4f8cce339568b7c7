"""One job of a plan, as everything after planning knows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PlannedJob:
    """One job of a plan: its label, its nodes' ids by stage name, and the reference's id."""

    label: str
    overrides: Sequence[str]
    nodes: Mapping[str, str]
    reference: str | None
