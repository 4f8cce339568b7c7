"""What the tests of tasks share: the stories, loaded and run on a model of lm-eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

STORIES = Path(__file__).parents[2] / "qpipe" / "data" / "tasks" / "stories"


def ask(
    lm: Any,
    names: Sequence[str],
    journal: Path,
    *,
    folder: Path = STORIES,
    limit: float | None = None,
    num_fewshot: int | None = None,
    progress: Any = lambda done, total, unit: None,
) -> tuple[Mapping[str, Any], Any]:
    """lm-eval's results, and what was loaded."""
    from qpipe.evaluators.harness.evaluation import EvaluationOptions, run
    from qpipe.evaluators.harness.loader import load

    loaded = load(
        names, include_path=folder, trusted=None, num_fewshot=num_fewshot, gen_kwargs=None
    )
    how = EvaluationOptions(limit=limit, chat_template=False, system_instruction=None)
    return run(lm, loaded, how, journal=journal, progress=progress), loaded
