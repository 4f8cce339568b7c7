"""Tasks on one model: lm-eval's `evaluate`, its answers kept in a journal as they come.

Requests that were answered before are not put to the model again.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from jinja2 import TemplateError
from lm_eval.api.model import CacheHook, hash_args
from lm_eval.evaluator import evaluate

from qpipe.errors import DataError
from qpipe.evaluators.harness.loader import LoadedTasks
from qpipe.support.closable import Closable

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance


Progress = Callable[[int, int, str], None]


class Journal(Closable):
    """A file of answers, one a line; a last line that was cut short is left out.

    A context manager. ``add`` writes through, so that a killed process loses one answer at most.
    """

    def __init__(self, path: Path) -> None:
        self.answers: dict[str, Any] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                request, answer = json.loads(line)
                self.answers[request] = answer
                whole += len(line)
        self._file: IO[bytes] = path.open("ab")
        self._file.truncate(whole)

    def add(self, request: str, answer: Any) -> None:
        """Keep an answer."""
        self.answers[request] = answer
        self._file.write(json.dumps([request, answer]).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Hook(CacheHook):  # type: ignore[misc]  # lm_eval is untyped
    """A hook that a model tells each answer to, once it has it."""

    def __init__(self, keep: Callable[[str, Any], None]) -> None:
        super().__init__(None)
        self._keep = keep

    def add_partial(self, attr: str, req: Any, res: Any) -> None:
        """Called by lm-eval's models."""
        self._keep(hash_args(attr, req), res)


class JournaledModel:
    """A model of lm-eval that answers from a journal what it holds; a stand-in for ``lm``.

    A request that is asked several times is passed on once: models here are deterministic.
    """

    def __init__(self, lm: Any, journal: Journal, progress: Progress) -> None:
        self._lm = lm
        self._journal = journal
        self._progress = progress
        self._done = self._total = 0
        lm.set_cache_hook(_Hook(self._keep))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lm, name)

    def loglikelihood(self, requests: Sequence[Instance]) -> list[Any]:
        """(log-probability, greedy) of each continuation."""
        return [(answer[0], answer[1]) for answer in self._answers("loglikelihood", requests)]

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[Any]:
        """Log-probability of each text."""
        return self._answers("loglikelihood_rolling", requests)

    def generate_until(self, requests: Sequence[Instance]) -> list[Any]:
        """A text after each context."""
        return self._answers("generate_until", requests)

    def _answers(self, method: str, requests: Sequence[Instance]) -> list[Any]:
        names = [hash_args(method, request.args) for request in requests]
        new = {
            name: request
            for name, request in zip(names, requests, strict=True)
            if name not in self._journal.answers
        }
        self._total = len(set(names))
        self._done = self._total - len(new)
        if new:
            answers = getattr(self._lm, method)(list(new.values()))
            for name, answer in zip(new, answers, strict=True):
                if name not in self._journal.answers:
                    self._keep(name, answer)
        return [self._journal.answers[name] for name in names]

    def _keep(self, name: str, answer: Any) -> None:
        if name not in self._journal.answers:
            self._journal.add(name, answer)
            self._done += 1
            self._progress(self._done, self._total, "requests")


# lm-eval's own default (simple_evaluate).
_SEED = 1234
# For the standard error of what is no mean; that of a mean needs none. The default of lm-eval
# 0.4.13, 100000, takes minutes and changes the third digit.
_RESAMPLES = 1000


@dataclass(frozen=True)
class EvaluationOptions:
    """Settings of how tasks are put to a model, beyond what they say themselves."""

    limit: float | None
    chat_template: bool
    system_instruction: str | None


def run(
    lm: Any, loaded: LoadedTasks, options: EvaluationOptions, *, journal: Path, progress: Progress
) -> Mapping[str, Any]:
    """lm-eval's results. Answers that ``journal`` holds are taken from it.

    Raises DataError for a task that cannot be put so, and what the model raises.
    """
    random.seed(_SEED)
    np.random.seed(_SEED)
    with Journal(journal) as answers:
        try:
            results = evaluate(
                lm=JournaledModel(lm, answers, progress),
                task_dict=dict(loaded.tasks),
                limit=options.limit,
                bootstrap_iters=_RESAMPLES,
                log_samples=True,
                system_instruction=options.system_instruction,
                apply_chat_template=options.chat_template,
                fewshot_as_multiturn=options.chat_template,
            )
        except (ValueError, KeyError, TypeError, AssertionError, TemplateError) as error:
            raise DataError(
                f"task {', '.join(loaded.tasks['tasks'])}: lm-eval cannot run it: "
                f"{type(error).__name__}: {error}"
            ) from error
    assert results is not None  # lm-eval 0.4.13: only on other ranks than the first
    return dict(results)
