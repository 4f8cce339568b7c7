"""A loaded model, and how far it is from itself with some tensors in other types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from qpipe.evaluators.text.interfaces import Nll, Tokens
from qpipe.evaluators.text.token_scores import GroupFiles, WindowPass
from qpipe.evaluators.text.windows import Windows
from qpipe.llamacpp.backend import LlamaCppBackend
from qpipe.llamacpp.weights import Bytes, LoadedWeights
from qpipe.support.closable import Closable


class Swaps(Closable):
    """A GGUF file in F32, F16 or BF16, loaded once; a context manager.

    ``folder`` takes the distributions of the windows, 2 bytes for each token of the vocabulary.
    """

    def __init__(self, path: Path, *, threads: int, folder: Path) -> None:
        self.backend = LlamaCppBackend(path, threads=threads, writable=True)
        self._weights = LoadedWeights(self.backend.model)
        self._file = folder / "reference.bin"
        self._scorer: DivergenceScorer | None = None
        self._windows: Windows | None = None

    def holds(self, tensor: str) -> bool:
        """True if llama.cpp computes with a tensor of that name."""
        return tensor in self._weights

    def start(self, tokens: Tokens) -> None:
        """Compute what the model itself says of windows [n, n_ctx], past their first eighth."""
        count, width = tokens.shape
        spans = np.tile(np.array([width // 8, width - 1], np.int32), (count, 1))
        self._windows = windows = Windows(tokens, spans, count, tokens.size)
        form = Full(self.backend.n_vocab)
        storing = StoringScorer(windows, self._file, form)
        try:
            values = self._pass(storing, range(count))
        finally:
            storing.close()
        rows: npt.NDArray[np.void] = np.memmap(self._file, form.row_type, "r")
        begins = starts(windows)
        nll = np.concatenate([each[:, 0] for each in values])
        self._scorer = DivergenceScorer(
            windows, lambda window: rows[begins[window] : begins[window + 1]], nll, form=form
        )

    def kld(
        self, swapped: Mapping[str, Bytes], own: Mapping[str, Bytes], order: Sequence[int]
    ) -> Nll:
        """The mean KL divergence of each window of ``order`` with tensors ``swapped``; after it
        they have their ``own`` bytes again."""
        assert self._scorer is not None, "not started"
        try:
            for name, data in swapped.items():
                self._weights.replace(name, data)
            values = self._pass(self._scorer, order)
        finally:
            for name in swapped:
                self._weights.replace(name, own[name])
        return np.array([each[:, KLD].mean() for each in values])

    def _pass(self, scorer: StoringScorer | DivergenceScorer, order: Sequence[int]) -> list[Nll]:
        assert self._windows is not None
        work = WindowPass(
            self.backend, self._windows, order=order, files=GroupFiles(None), filled=True
        )
        work.run(scorer)
        return work.values

    def close(self) -> None:
        """Free the model and the distributions."""
        self.backend.close()
        self._file.unlink(missing_ok=True)
