"""How far models are from another, window by window, whose distributions are stored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qpipe.evaluators.text.distributions import (
    KLD,
    DivergenceScorer,
    Full,
    StoringScorer,
    starts,
)
from qpipe.evaluators.text.interfaces import Backend, Nll, Tokens
from qpipe.evaluators.text.token_scores import GroupFiles, WindowPass
from qpipe.evaluators.text.windows import Windows
from qpipe.results.windows import student


class Divergences:
    """The distributions of the model ``reference`` on windows [n, n_ctx], past their first eighth,
    and how far others are from them.

    ``file`` takes them, 2 bytes for each token of the vocabulary.
    """

    def __init__(self, reference: Backend, tokens: Tokens, file: Path) -> None:
        count, width = tokens.shape
        spans = np.tile(np.array([width // 8, width - 1], np.int32), (count, 1))
        self._windows = windows = Windows(tokens, spans, count, tokens.size)
        form = Full(reference.n_vocab)
        storing = StoringScorer(windows, file, form)
        try:
            values = self._pass(reference, storing, range(count))
        finally:
            storing.close()
        rows: npt.NDArray[np.void] = np.memmap(file, form.row_type, "r")
        begins = starts(windows)
        nll = np.concatenate([each[:, 0] for each in values])
        self._scorer = DivergenceScorer(
            windows, lambda window: rows[begins[window] : begins[window + 1]], nll, form=form
        )

    def of(self, other: Backend, order: Sequence[int] | None = None) -> Nll:
        """The mean KL divergence of each window of ``order``, by default of all."""
        windows = range(len(self._windows.tokens)) if order is None else order
        values = self._pass(other, self._scorer, windows)
        return np.array([each[:, KLD].mean() for each in values])

    def _pass(
        self, backend: Backend, scorer: StoringScorer | DivergenceScorer, order: Sequence[int]
    ) -> list[Nll]:
        work = WindowPass(backend, self._windows, order=order, files=GroupFiles(None), filled=True)
        work.run(scorer)
        return work.values


def interval(values: Nll) -> tuple[float, float]:
    """The mean of windows' values, and half its 95 % interval (Student's t)."""
    half = student(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()), half
