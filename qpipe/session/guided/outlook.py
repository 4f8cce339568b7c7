"""What a guided sweep would do, before it runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from qpipe.core.forecast import Forecast
from qpipe.core.graph import Graph, Plan, PlannedJob
from qpipe.core.key import Json
from qpipe.recipe.draft import GuideDraft
from qpipe.session.guided.parts import TOKENS, groups
from qpipe.session.guided.verdict import goal


@dataclass(frozen=True)
class GuidedOutlook:
    """The question of a sweep; how many ``levels`` are compared, and how many of these the store
    has ``measured`` on the whole text; its ``windows``, and the tokens of all others on all of
    them, None where the text is not cut into tokens yet."""

    guide: GuideDraft
    levels: int
    measured: int
    windows: int | None = None
    tokens: int | None = None

    @property
    def words(self) -> str:
        """A sentence on it."""
        left = self.levels - self.measured
        there = f", {self.measured} of them measured already" if self.measured else ""
        first = f"each is measured in {self.guide['first']} windows"
        if self.windows is not None and self.windows <= self.guide["first"]:
            first = "each is measured on the whole text"
        most = "each on the whole text"
        if self.tokens is not None:
            most = f"{self.tokens:,} tokens, {left} levels in all {self.windows} windows"
        return (
            f"guided sweep: {goal(self.guide)} of {self.levels} levels{there}: {first}, and in "
            f"more as long as that is not clear ({self.guide['confidence']:.0%} confidence); at "
            f"most {most}"
        )

    def record(self) -> dict[str, Json]:
        """Its fields for a JSON answer."""
        counts = {"levels": self.levels, "measured": self.measured, "windows": self.windows}
        guide = cast("Mapping[str, Json]", self.guide)
        return {**guide, **counts, "tokens_at_most": self.tokens}


def foreseen(
    guide: GuideDraft, graph: Graph, jobs: Iterable[PlannedJob], forecasts: Iterable[Forecast]
) -> GuidedOutlook:
    """Foresee a sweep with these jobs. Raises RecipeError where there is nothing to
    compare."""
    compared = groups(Plan(graph, [*jobs]))
    known = {item.node.id: item for item in forecasts}
    left = [[level for level in levels if known[level.id].state != "cached"] for levels in compared]
    count = sum(map(len, compared))
    measured = count - sum(map(len, left))
    cuts = [known[levels[0].whole.inputs[TOKENS]].artifact for levels in compared]
    if None in cuts:
        return GuidedOutlook(guide, count, measured)
    shapes = [_windows(cut) for cut in cuts]
    tokens = sum(len(ahead) * math.prod(shape) for ahead, shape in zip(left, shapes, strict=True))
    return GuidedOutlook(guide, count, measured, max(windows for windows, _ in shapes), tokens)


def _windows(cut: Any) -> tuple[int, int]:
    """The number of windows of a text that is cut into tokens, and the tokens of each."""
    from qpipe.evaluators.text.windows import load

    tokens = load(cut.path).windows.tokens
    return int(tokens.shape[0]), int(tokens.shape[1])
