"""From logits to the negative log-likelihood of tokens, and what is finite."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qpipe.errors import DataError
from qpipe.evaluators.metrics.backend import Logits, Tokens
from qpipe.evaluators.metrics.windows import Windows

Nll = npt.NDArray[np.float64]
Values = npt.NDArray[np.float64]
"""[tokens, columns]: what was found of each scored token."""

# Logits per step: what is read, subtracted and exponentiated should stay in the CPU's cache.
STEP = 1 << 17


class NllScorer:
    """One column: the negative log-likelihood of each scored token, in nats."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def __call__(self, window: int, at: int, logits: Logits) -> Values:
        """Nll of the ``at``-th scored token of a window and those after it."""
        return token_nll(logits, self.windows.targets(window)[at : at + len(logits)])[:, None]


def token_nll(logits: Logits, targets: Tokens) -> Nll:
    """-log softmax(logits)[target] of each row: logits [n, n_vocab], targets [n] → float64 [n].

    As llama.cpp's `log_softmax` (tools/perplexity/perplexity.cpp): differences and exponentials
    in float32, their sum and its logarithm in float64.
    """
    out = np.empty(len(targets), np.float64)
    step = max(1, STEP // logits.shape[1])
    for at in range(0, len(targets), step):
        rows = logits[at : at + step]
        top = rows.max(axis=1)
        shifted = rows - top[:, None]
        chosen = shifted[np.arange(len(rows)), targets[at : at + step]].astype(np.float64)
        total = np.exp(shifted, out=shifted).sum(axis=1, dtype=np.float64)
        out[at : at + step] = np.log(total) - chosen
    return out


def require_finite(values: Values, logits: Logits, *, model: str, window: int, start: int) -> None:
    """Raise DataError where a logit is NaN or a token of the text has probability zero."""
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"{model} gave {_fault(logits[row])} at position {start + row} of window {window}: the "
            "model is damaged, or its quantization overflowed; evaluate the unquantized checkpoint "
            "to tell which"
        )


def _fault(row: Logits) -> str:
    bad = int(np.count_nonzero(np.isnan(row)))
    return f"{bad} NaN of {len(row)} logits" if bad else "infinite logits"
