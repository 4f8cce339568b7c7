"""From logits to log-probabilities, from log-probabilities to perplexity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qpipe.errors import DataError
from qpipe.evaluators.metrics.backend import Backend, Logits, Tokens
from qpipe.evaluators.metrics.windows import Windows

Nll = npt.NDArray[np.float64]
# Logits per step: what is read, subtracted and exponentiated should stay in the CPU's cache.
_STEP = 1 << 17


@dataclass(frozen=True)
class MeanNll:
    """Mean negative log-likelihood in nats over ``count`` tokens, with its standard error."""

    mean: float
    stderr: float
    count: int

    @property
    def ppl(self) -> float:
        """Perplexity: e to the mean."""
        return math.exp(self.mean)

    @property
    def ppl_stderr(self) -> float:
        """Standard error of the perplexity, to first order."""
        return self.stderr * self.ppl


def token_nll(logits: Logits, targets: Tokens) -> Nll:
    """-log softmax(logits)[target] of each row: logits [n, n_vocab], targets [n] → float64 [n].

    As llama.cpp's `log_softmax` (tools/perplexity/perplexity.cpp): differences and exponentials
    in float32, their sum and its logarithm in float64.
    """
    out = np.empty(len(targets), np.float64)
    step = max(1, _STEP // logits.shape[1])
    for at in range(0, len(targets), step):
        rows = logits[at : at + step]
        top = rows.max(axis=1)
        shifted = rows - top[:, None]
        chosen = shifted[np.arange(len(rows)), targets[at : at + step]].astype(np.float64)
        total = np.exp(shifted, out=shifted).sum(axis=1, dtype=np.float64)
        out[at : at + step] = np.log(total) - chosen
    return out


def score(backend: Backend, windows: Windows) -> Iterator[tuple[int, int, Nll]]:
    """(window, start, nll of tokens start+1 …) block by block.

    Raises DataError where a logit is NaN or a token of the text has probability zero.
    """
    for window, start, logits in backend.logits(windows.tokens, first=windows.first):
        with np.errstate(invalid="ignore"):
            nll = token_nll(logits, windows.targets(window, start, len(logits)))
        if not np.isfinite(nll).all():
            row = int(np.flatnonzero(~np.isfinite(nll))[0])
            raise DataError(
                f"{backend.name} gave {_fault(logits[row])} at position {start + row} of window "
                f"{window}: the model is damaged, or its quantization overflowed; evaluate the "
                "unquantized checkpoint to tell which"
            )
        yield window, start, nll


def _fault(row: Logits) -> str:
    bad = int(np.count_nonzero(np.isnan(row)))
    return f"{bad} NaN of {len(row)} logits" if bad else "infinite logits"


def mean_nll(nll: Nll) -> MeanNll:
    """Mean and standard error as llama-perplexity prints them: sqrt((E[x²] - E[x]²) / (n - 1)).

    Source: `perplexity` in llama.cpp's tools/perplexity/perplexity.cpp. One token has no error
    estimate: nan.
    """
    count = len(nll)
    variance = float(np.square(nll - nll.mean()).mean())
    stderr = math.sqrt(variance / (count - 1)) if count > 1 else math.nan
    return MeanNll(mean=float(nll.mean()), stderr=stderr, count=count)
