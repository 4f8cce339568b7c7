"""The next-token distributions of a reference, stored, and the divergence of others from them.

A stored distribution is llama-perplexity's (``log_softmax`` with ``log_prob`` in
tools/perplexity/perplexity.cpp): log-probabilities in 65,536 steps from that of the likeliest token
down to e^-16 of it, 2 bytes each, and 8 bytes a row for the scale and the lowest. A log-probability
so stored is off by at most half a step, 16 / 65535 / 2 = 1.2e-4 nats; a token less likely than
e^-16 of the likeliest counts as just that likely, and one below e^-16 as impossible.

Of each distribution the likeliest tokens alone can be stored, which bounds the KL divergence: a row
then has the ``k`` likeliest tokens, their log-probabilities in the steps of the full form (16 bits
down to e^-16 of the likeliest), and of all other tokens, the rest R, two sums: the probability
M = Σ p and the negative entropy N = Σ p ln p. Those among the k that are below e^-16 are in R too.

KL(P ‖ Q) = Σ_K p ln(p / q) + Σ_R p ln(p / q), the first sum known. The second is at least
M ln(M / Σ_R q), by the log-sum inequality (Cover and Thomas, Elements of Information Theory,
theorem 2.7.1). It is N - Σ_R p ln q, and no token of R has more than the last of the k, c: so at
most it is N plus what M comes to when R's tokens are filled up to c, the least likely under Q
first. Nothing that is stored tells P from one that reaches this.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from qpipe.evaluators.text.interfaces import Logits, Nll, Tokens, Values
from qpipe.evaluators.text.token_scores import STEP, token_nll
from qpipe.evaluators.text.windows import Windows


class Columns:
    """Stored distributions whose fields are arrays of their own, [tokens, …] each."""

    def __init__(self, fields: Mapping[str, npt.NDArray[Any]]) -> None:
        self.fields = fields

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))

    @overload
    def __getitem__(self, part: str) -> npt.NDArray[Any]: ...
    @overload
    def __getitem__(self, part: slice) -> Columns: ...
    def __getitem__(self, part: str | slice) -> npt.NDArray[Any] | Columns:
        """A field, or some of the rows."""
        if isinstance(part, str):
            return self.fields[part]
        return Columns({name: field[part] for name, field in self.fields.items()})


StoredRows: TypeAlias = npt.NDArray[Any]
"""Structured, as a form's ``row_type`` says."""
Rows: TypeAlias = "npt.NDArray[Any] | Columns"
"""The same, or its fields apart."""

RANGE = np.float32(16)
STEPS = np.float32(65535)

# The columns that `DivergenceScorer` gives; the last is of forms alone that only bound KLD: there
# KLD is the least that it can be.
NLL, REFERENCE_NLL, KLD, SAME_TOP, KLD_AT_MOST = range(5)


class Form(Protocol):
    """A way in which distributions are stored."""

    row_type: np.dtype[Any]

    def encode(self, logits: Logits) -> StoredRows:
        """Stored distributions of logits [n, n_vocab]."""

    def divergence(self, logits: Logits, rows: Rows, targets: Tokens) -> Values:
        """Columns as `DivergenceScorer` gives them, without REFERENCE_NLL."""

    def confidence(self, rows: Rows) -> Nll:
        """The probability of the likeliest token of each row."""


class Full:
    """The form that has every token."""

    def __init__(self, n_vocab: int) -> None:
        self.row_type = row_type(n_vocab)

    def encode(self, logits: Logits) -> StoredRows:
        """See `encode`."""
        return encode(logits)

    def divergence(self, logits: Logits, rows: Rows, targets: Tokens) -> Values:
        """See `divergence`."""
        return np.stack(divergence(logits, rows, targets), axis=1)

    def confidence(self, rows: Rows) -> Nll:
        """See `confidence`."""
        confidence: Nll = np.exp(rows["low"] + rows["scale"] * STEPS).astype(np.float64)
        return confidence


def row_type(n_vocab: int) -> np.dtype[Any]:
    """One stored distribution: log p of token t is ``low + scale * codes[t]``."""
    return np.dtype([("scale", "<f4"), ("low", "<f4"), ("codes", "<u2", (n_vocab,))])


def encode(logits: Logits) -> StoredRows:
    """Stored distributions of logits [n, n_vocab]."""
    rows = np.empty(len(logits), row_type(logits.shape[1]))
    top = logits.max(axis=1)
    low = np.maximum(logits.min(axis=1), top - RANGE)
    scale = (top - low) / STEPS
    log_sum = np.log(np.exp(logits - top[:, None]).sum(axis=1, dtype=np.float64))
    # All logits equal: the scale is 0, and so are all codes.
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    codes = np.rint((logits - low[:, None]) * inverse[:, None])
    rows["scale"], rows["low"] = scale, low - top - log_sum
    rows["codes"] = np.clip(codes, 0, STEPS)
    return rows


def divergence(logits: Logits, rows: Rows, targets: Tokens) -> tuple[Nll, Nll, Nll]:
    """Target nll, KL(stored ‖ softmax of logits) in nats and same likeliest token, for each row.

    As llama-perplexity's `log_softmax` with ``kld``: tokens that the reference gives e^-16 or less
    are left out; sums in float64.
    """
    nll = np.empty(len(logits), np.float64)
    kld, same = np.empty_like(nll), np.empty_like(nll)
    step = max(1, STEP // logits.shape[1])
    for at in range(0, len(logits), step):
        part, stored = logits[at : at + step], rows[at : at + step]
        shifted = part - part.max(axis=1)[:, None]
        log_sum = np.log(np.exp(shifted).sum(axis=1, dtype=np.float64))
        chosen = shifted[np.arange(len(part)), targets[at : at + step]].astype(np.float64)
        log_p = stored["codes"] * stored["scale"][:, None] + stored["low"][:, None]
        p = np.exp(log_p)
        p[log_p <= -RANGE] = 0
        np.subtract(log_p, shifted, out=shifted)
        shifted *= p
        here = slice(at, at + len(part))
        nll[here] = log_sum - chosen
        kld[here] = shifted.sum(axis=1, dtype=np.float64) + log_sum * p.sum(
            axis=1, dtype=np.float64
        )
        same[here] = part.argmax(axis=1) == stored["codes"].argmax(axis=1)
    return nll, kld, same


def starts(windows: Windows) -> npt.NDArray[np.int64]:
    """The row of each window's first scored token in a file that has them in order, and the end."""
    counts = (windows.spans[:, 1] - windows.spans[:, 0]).astype(np.int64)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


class StoringScorer:
    """Writes the distribution of each scored token to ``file``; one column, the nll."""

    def __init__(self, windows: Windows, file: Path, form: Form) -> None:
        self.windows, self.form = windows, form
        self.starts = starts(windows)
        self._fd = os.open(file, os.O_WRONLY | os.O_CREAT, 0o666)

    def __call__(self, window: int, at: int, logits: Logits) -> Values:
        """Store a window's distributions from the ``at``-th scored token on; return their nll."""
        nll = token_nll(logits, self.windows.targets(window)[at : at + len(logits)])
        if np.isfinite(nll).all():
            rows = self.form.encode(logits)
            data = rows.view(np.uint8).data
            offset = int(self.starts[window] + at) * rows.itemsize
            while data:
                written = os.pwrite(self._fd, data, offset)
                data, offset = data[written:], offset + written
        return nll[:, None]

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class DivergenceScorer:
    """Columns NLL, REFERENCE_NLL, KLD, SAME_TOP and maybe KLD_AT_MOST of each scored token.

    ``stored`` gives the reference's distributions of a window in ``form``, ``nll`` [all scored
    tokens] is its.
    """

    def __init__(
        self, windows: Windows, stored: Callable[[int], Rows], nll: Nll, *, form: Form
    ) -> None:
        self.windows, self.stored, self.nll, self.form = windows, stored, nll, form
        self.starts = starts(windows)

    def __call__(self, window: int, at: int, logits: Logits) -> Values:
        """Values of the ``at``-th scored token of a window and those after it."""
        here = slice(at, at + len(logits))
        targets = self.windows.targets(window)[here]
        columns = self.form.divergence(logits, self.stored(window)[here], targets)
        first = int(self.starts[window]) + at
        return np.insert(columns, REFERENCE_NLL, self.nll[first : first + len(logits)], axis=1)


_STEP = float(RANGE / STEPS)
_Mask = npt.NDArray[np.bool_]


class Top:
    """The form of the ``k`` likeliest of ``n_vocab`` tokens; see `Form`."""

    def __init__(self, n_vocab: int, k: int) -> None:
        self.k = k
        token = "<u2" if n_vocab <= 1 << 16 else "<u4"
        self.row_type = np.dtype(
            [
                ("top", "<f4"),
                ("rest", "<f4"),
                ("rest_plogp", "<f4"),
                ("tokens", token, (k,)),
                ("codes", "<u2", (k,)),
            ]
        )

    def encode(self, logits: Logits) -> StoredRows:
        """Log p of ``tokens[i]`` is ``top - codes[i] · 16 / 65535``."""
        rows = np.empty(len(logits), self.row_type)
        step = max(1, STEP // logits.shape[1])
        for at in range(0, len(logits), step):
            self._encode(logits[at : at + step], rows[at : at + step])
        return rows

    def _encode(self, logits: Logits, rows: StoredRows) -> None:
        tokens = np.argpartition(logits, -self.k, axis=1)[:, -self.k :]
        order = np.argsort(-np.take_along_axis(logits, tokens, axis=1), axis=1, kind="stable")
        tokens = np.take_along_axis(tokens, order, axis=1)
        log_p = (logits - logits.max(axis=1)[:, None]).astype(np.float64)
        log_p -= np.log(np.exp(log_p).sum(axis=1))[:, None]
        below = log_p[np.arange(len(rows)), tokens[:, 0]][:, None] - np.take_along_axis(
            log_p, tokens, axis=1
        )
        codes = np.minimum(np.rint(below / _STEP), STEPS)
        rows["tokens"], rows["codes"] = tokens, codes
        rows["top"] = log_p.max(axis=1)
        rest = np.ones(log_p.shape, np.bool_)
        np.put_along_axis(rest, tokens, codes == STEPS, axis=1)
        p = np.exp(log_p) * rest
        rows["rest"] = p.sum(axis=1)
        rows["rest_plogp"] = np.multiply(p, log_p, out=np.zeros_like(p), where=p > 0).sum(axis=1)

    def divergence(self, logits: Logits, rows: Rows, targets: Tokens) -> Values:
        """Columns: nll of the target, the least KL divergence, same likeliest token, the most."""
        step = max(1, STEP // logits.shape[1])
        parts = [
            _bounds(logits[at : at + step], rows[at : at + step])
            for at in range(0, len(logits), step)
        ]
        least, most = np.concatenate(parts, axis=1)
        same = logits.argmax(axis=1) == rows["tokens"][:, 0]
        return np.stack([token_nll(logits, targets), least, same, most], axis=1)

    def confidence(self, rows: Rows) -> Nll:
        """See `confidence`."""
        confidence: Nll = np.exp(rows["top"]).astype(np.float64)
        return confidence


def _bounds(logits: Logits, rows: Rows) -> Nll:
    """[2, rows]: the least and the most KL divergence."""
    log_q = (logits - logits.max(axis=1)[:, None]).astype(np.float64)
    log_q -= np.log(np.exp(log_q).sum(axis=1))[:, None]
    tokens = rows["tokens"].astype(np.int64)
    log_p = rows["top"][:, None].astype(np.float64) - rows["codes"] * _STEP
    known = rows["codes"] < STEPS
    terms = np.exp(log_p) * (log_p - np.take_along_axis(log_q, tokens, axis=1))
    sure = np.where(known, terms, 0).sum(axis=1)
    rest = np.ones(log_q.shape, np.bool_)
    np.put_along_axis(rest, tokens, ~known, axis=1)
    mass = rows["rest"].astype(np.float64)
    log_mass = np.log(mass, out=np.zeros_like(mass), where=mass > 0)
    least = sure + mass * (log_mass - _log_sum(log_q, rest))
    most = sure + rows["rest_plogp"] + _dearest(log_q, rest, mass, np.exp(log_p[:, -1] + _STEP / 2))
    return np.stack([least, np.maximum(least, most)])


def _log_sum(log_q: Nll, rest: _Mask) -> Nll:
    """ln Σ_R q of each row."""
    there: Nll = np.where(rest, log_q, -np.inf)
    top = there.max(axis=1)
    log_sums: Nll = top + np.log(np.exp(there - top[:, None]).sum(axis=1))
    return log_sums


def _dearest(log_q: Nll, rest: _Mask, mass: Nll, most: Nll) -> Nll:
    """The largest Σ_R -p ln q of all p that sum to ``mass``, none above ``most``."""
    costs: Nll = -np.sort(np.where(rest, log_q, np.inf), axis=1)
    room = np.minimum(np.floor(mass / most).astype(np.int64), rest.sum(axis=1) - 1)
    row: npt.NDArray[Any] = np.arange(len(costs))
    filled = np.cumsum(np.where(np.isfinite(costs), costs, 0), axis=1)[row, room]
    # ``filled`` has the one that is filled in part, too.
    partly = costs[row, room]
    largest: Nll = (filled - partly) * most + partly * (mass - room * most)
    return largest
