"""Tasks on one model: lm-eval's `evaluate`, its answers kept in a journal."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import TemplateError
from lm_eval.evaluator import evaluate

from qpipe.errors import DataError
from qpipe.evaluators.harness.journal import Journal, Progress, Remembering
from qpipe.evaluators.harness.load import Loaded

# lm-eval's own default (simple_evaluate).
_SEED = 1234
# For the standard error of what is no mean; that of a mean needs none. lm-eval's default, 100000,
# takes minutes and changes the third digit.
_RESAMPLES = 1000


@dataclass(frozen=True)
class How:
    """Settings of how tasks are put to a model, beyond what they say themselves."""

    limit: float | None
    chat_template: bool
    system_instruction: str | None


def run(
    lm: Any, loaded: Loaded, how: How, *, journal: Path, progress: Progress
) -> Mapping[str, Any]:
    """lm-eval's results. Answers that ``journal`` holds are taken from it.

    Raises DataError for a task that cannot be put so, and what the model raises.
    """
    random.seed(_SEED)
    np.random.seed(_SEED)
    with Journal(journal) as answers:
        try:
            found = evaluate(
                lm=Remembering(lm, answers, progress),
                task_dict=dict(loaded.tasks),
                limit=how.limit,
                bootstrap_iters=_RESAMPLES,
                log_samples=True,
                system_instruction=how.system_instruction,
                apply_chat_template=how.chat_template,
                fewshot_as_multiturn=how.chat_template,
            )
        except (ValueError, KeyError, TypeError, AssertionError, TemplateError) as error:
            raise DataError(
                f"task {', '.join(loaded.tasks['tasks'])}: lm-eval cannot run it: "
                f"{type(error).__name__}: {error}"
            ) from error
    assert found is not None  # only on other ranks than the first
    return dict(found)
