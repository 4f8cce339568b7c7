"""Answers of a model, kept as they come: what was asked before is not asked again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lm_eval.api.model import CacheHook, hash_args

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
                asked, answer = json.loads(line)
                self.answers[asked] = answer
                whole += len(line)
        self._file: IO[bytes] = path.open("ab")
        self._file.truncate(whole)

    def add(self, asked: str, answer: Any) -> None:
        """Keep an answer."""
        self.answers[asked] = answer
        self._file.write(json.dumps([asked, answer]).encode() + b"\n")
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


class Remembering:
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
        asked = [hash_args(method, request.args) for request in requests]
        new = {
            name: request
            for name, request in zip(asked, requests, strict=True)
            if name not in self._journal.answers
        }
        self._total = len(set(asked))
        self._done = self._total - len(new)
        if new:
            answers = getattr(self._lm, method)(list(new.values()))
            for name, answer in zip(new, answers, strict=True):
                if name not in self._journal.answers:
                    self._keep(name, answer)
        return [self._journal.answers[name] for name in asked]

    def _keep(self, asked: str, answer: Any) -> None:
        if asked not in self._journal.answers:
            self._journal.add(asked, answer)
            self._done += 1
            self._progress(self._done, self._total, "requests")
