"""What making the models of a recipe takes, beside what they take to run: its plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qpipe.errors import QpipeError
from qpipe.session.estimating.estimate import ModelEstimate
from qpipe.session.estimating.models import is_recipe


def with_plan(answer: ModelEstimate, name: str, *, store: Path, runs: Path) -> ModelEstimate:
    """The answer with the plan of the recipe called ``name``; as it is where that names none. Where
    there can be no plan, a note says why."""
    if not is_recipe(name):
        return answer
    from qpipe.recipe.request import Request
    from qpipe.session.context import Context
    from qpipe.session.forecasts import run_plan

    try:
        return replace(answer, plan=run_plan(Context(Request(name), store=store, runs=runs)))
    except QpipeError as error:
        note = f"what making it takes is not known: {error}"
        return replace(answer, notes=(*answer.notes, note))
