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
from qpipe.llamacpp.weights import LoadedWeights
from qpipe.mix.forms import Encoded, as_it_is, matrices
from qpipe.support.closable import Closable


class Swaps(Closable):
    """A GGUF file in F32, F16 or BF16, loaded once; a context manager.

    ``folder`` takes the distributions of the windows, 2 bytes for each token of the vocabulary.
    """

    def __init__(self, path: Path, *, threads: int, folder: Path) -> None:
        self.backend = LlamaCppBackend(path, threads=threads, writable=True)
        self._weights = LoadedWeights(self.backend.model)
        self.outputs = [output for output in matrices(path) if output.name in self._weights]
        self._own = {output.name: output for output in self.outputs}
        self._file = folder / "reference.bin"
        self.scorer: DivergenceScorer | None = None
        self.windows: Windows | None = None

    def start(self, tokens: Tokens) -> None:
        """Compute what the model itself says of windows [n, n_ctx], past their first eighth."""
        count, width = tokens.shape
        spans = np.tile(np.array([width // 8, width - 1], np.int32), (count, 1))
        self.windows = windows = Windows(tokens, spans, count, tokens.size)
        form = Full(self.backend.n_vocab)
        storing = StoringScorer(windows, self._file, form)
        try:
            values = self._pass(storing, range(count))
        finally:
            storing.close()
        rows: npt.NDArray[np.void] = np.memmap(self._file, form.row_type, "r")
        begins = starts(windows)
        nll = np.concatenate([each[:, 0] for each in values])
        self.scorer = DivergenceScorer(
            windows, lambda window: rows[begins[window] : begins[window + 1]], nll, form=form
        )

    def kld(self, swapped: Mapping[str, Encoded], order: Sequence[int]) -> Nll:
        """The mean KL divergence of each window of ``order`` with tensors ``swapped``, as a file
        with them has it; after it they are the file's own again."""
        assert self.scorer is not None, "not started"
        try:
            for name, tensor in swapped.items():
                self._weights.replace(name, tensor.data, tensor.type)
            values = self._pass(self.scorer, order)
        finally:
            for name in swapped:
                own = as_it_is(self._own[name])
                self._weights.replace(name, own.data, own.type)
        return np.array([each[:, KLD].mean() for each in values])

    def _pass(self, scorer: StoringScorer | DivergenceScorer, order: Sequence[int]) -> list[Nll]:
        assert self.windows is not None
        work = WindowPass(
            self.backend, self.windows, order=order, files=GroupFiles(None), filled=True
        )
        work.run(scorer)
        return work.values

    def close(self) -> None:
        """Free the model and the distributions."""
        self.backend.close()
        self._file.unlink(missing_ok=True)
