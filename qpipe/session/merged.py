"""All jobs of a request as one graph, without running any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qpipe.core.graph import Graph, merge
from qpipe.core.plan import Plan
from qpipe.recipe.draft import InvalidJobDraft, RunDraft
from qpipe.session.context import Context
from qpipe.session.plans import Objective, each_plan


@dataclass(frozen=True)
class Merged:
    """All jobs of a request: the drafts of its batches, and one graph for all of them."""

    drafts: Sequence[RunDraft]
    graph: Graph

    @property
    def invalid(self) -> list[InvalidJobDraft]:
        """The jobs of all batches that are left out."""
        return [job for draft in self.drafts for job in draft["invalid"]]


def merged(context: Context) -> Merged:
    """Compose and plan a request without running any of it. Raises RecipeError, SourceError."""
    drafts: list[RunDraft] = []
    plans: list[Plan] = []

    def handle(draft: RunDraft, planned: Plan) -> Sequence[Objective]:
        drafts.append(draft)
        plans.append(planned)
        return [None for _ in planned.jobs]

    each_plan(context, handle)
    return Merged(drafts, plans[0].graph if len(plans) == 1 else merge(p.graph for p in plans))
