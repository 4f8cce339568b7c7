"""Of each stored distribution only the likeliest tokens, and what KL divergence lies between.

A row has the ``k`` likeliest tokens, their log-probabilities in the steps of the full form (16 bits
down to e^-16 of the likeliest), and of all other tokens, the rest R, two sums: the probability
M = Σ p and the negative entropy N = Σ p ln p. Those among the k that are below e^-16 are in R too.

KL(P ‖ Q) = Σ_K p ln(p / q) + Σ_R p ln(p / q), the first sum known. The second is at least
M ln(M / Σ_R q), by the log-sum inequality (Cover and Thomas, Elements of Information Theory,
theorem 2.7.1). It is N - Σ_R p ln q, and no token of R has more than the last of the k, c: so at
most it is N plus what M comes to when R's tokens are filled up to c, the least likely under Q
first. Nothing that is stored tells P from one that reaches this.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.evaluators.metrics.backend import Logits, Tokens
from qpipe.evaluators.metrics.distributions import RANGE, STEPS, Rows
from qpipe.evaluators.metrics.scores import STEP, Nll, Values, token_nll

_STEP = float(RANGE / STEPS)
_Mask = npt.NDArray[np.bool_]


class Top:
    """The form of the ``k`` likeliest of ``n_vocab`` tokens; see `distributions.Form`."""

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

    def encode(self, logits: Logits) -> Rows:
        """Log p of ``tokens[i]`` is ``top - codes[i] · 16 / 65535``."""
        rows = np.empty(len(logits), self.row_type)
        step = max(1, STEP // logits.shape[1])
        for at in range(0, len(logits), step):
            self._encode(logits[at : at + step], rows[at : at + step])
        return rows

    def _encode(self, logits: Logits, rows: Rows) -> None:
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
    found: Nll = top + np.log(np.exp(there - top[:, None]).sum(axis=1))
    return found


def _dearest(log_q: Nll, rest: _Mask, mass: Nll, most: Nll) -> Nll:
    """The largest Σ_R -p ln q of all p that sum to ``mass``, none above ``most``."""
    costs: Nll = -np.sort(np.where(rest, log_q, np.inf), axis=1)
    room = np.minimum(np.floor(mass / most).astype(np.int64), rest.sum(axis=1) - 1)
    row: npt.NDArray[Any] = np.arange(len(costs))
    filled = np.cumsum(np.where(np.isfinite(costs), costs, 0), axis=1)[row, room]
    # ``filled`` has the one that is filled in part, too.
    partly = costs[row, room]
    found: Nll = (filled - partly) * most + partly * (mass - room * most)
    return found
