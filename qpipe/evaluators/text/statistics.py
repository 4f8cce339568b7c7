"""Means, their standard errors, and intervals that hold for the whole text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qpipe.evaluators.text.interfaces import Nll
from qpipe.results.windows import student


@dataclass(frozen=True)
class Mean:
    """A mean with its standard error, nan for a single value."""

    value: float
    stderr: float


def mean(values: Nll) -> Mean:
    """Mean and standard error as llama-perplexity prints them: sqrt((E[x²] - E[x]²) / (n - 1)).

    Source: `mean_and_uncertainty` in llama.cpp's tools/perplexity/perplexity.cpp.
    """
    count = len(values)
    centre = float(values.mean())
    variance = float(np.square(values - centre).mean())
    return Mean(centre, math.sqrt(variance / (count - 1)) if count > 1 else math.nan)


def perplexity(nll: Nll, *, units: int | None = None) -> Mean:
    """e to the mean nll a token, or a unit if there are so many ``units``; error to first order."""
    nll_mean = mean(nll)
    per = 1.0 if units is None else len(nll) / units
    value = math.exp(nll_mean.value * per)
    return Mean(value, value * nll_mean.stderr * per)


def bits(nll: Nll, *, units: int) -> Mean:
    """Bits a unit: the sum of nll over ln 2 and the number of units."""
    nll_mean = mean(nll)
    per = len(nll) / units / math.log(2)
    return Mean(nll_mean.value * per, nll_mean.stderr * per)


def paired_difference(nll: Nll, reference: Nll) -> Mean:
    """ppl - reference's ppl on the same tokens, its error with their covariance.

    To first order ppl moves by ppl times what the mean nll moves, so the error is that of the mean
    of ppl·nll - ppl_ref·nll_ref (as llama-perplexity's Mean PPL(Q)-PPL(base)).
    """
    ours, theirs = perplexity(nll).value, perplexity(reference).value
    return Mean(ours - theirs, mean(ours * nll - theirs * reference).stderr)


def root_mean_square(values: Nll) -> Mean:
    """sqrt(E[x²]), its error to first order; zero has no error."""
    squares = mean(np.square(values))
    root = math.sqrt(squares.value)
    return Mean(root, squares.stderr / (2 * root) if root else 0.0)


@dataclass(frozen=True)
class Interval:
    """An interval ``value`` ± ``half`` for what the whole text would give."""

    value: float
    half: float

    @property
    def relative(self) -> float:
        """Half its width over the value."""
        return self.half / abs(self.value) if self.value else math.inf


def over_windows(
    parts: Sequence[Nll], *, available: int, covariate: Sequence[Nll], whole: float
) -> Interval:
    """The 95 % interval of the mean over all tokens of ``available`` windows, from those of some
    windows at random.

    Windows are what is drawn, without replacement: tokens of one window are no independent draws.
    Of the same tokens another value is known, the ``covariate``, and its mean over the whole text:
    the mean is moved by what the windows drawn have too much or too little of that. It is the
    regression estimator (Cochran, Sampling Techniques, chapter 7) of a ratio of sums (2.11 and
    6.3), its variance that of a linear regression's prediction at ``whole``, with the finite
    population correction, and Student's quantile.
    """
    sums, counts = _sums(parts)
    n, value = len(sums), float(sums.sum() / counts.sum())
    if n == available:
        return Interval(value, 0.0)
    if n < 3:
        return Interval(value, math.inf)
    beside, _ = _sums(covariate)
    drawn = float(beside.sum() / counts.sum())
    residuals, moves = sums - value * counts, beside - drawn * counts
    spread = float(np.square(moves).sum())
    slope = float(residuals @ moves) / spread if spread else 0.0
    variance = float(np.square(residuals - slope * moves).sum()) / (n - 2)
    far = float(counts.mean()) * (whole - drawn)
    share = (1 - n / available) / n + (far**2 / spread if spread else 0.0)
    half = student(n - 2) * math.sqrt(variance * share) / float(counts.mean())
    return Interval(value + slope * (whole - drawn), half)


def _sums(parts: Sequence[Nll]) -> tuple[Nll, Nll]:
    """The sum and the number of tokens of each window, none of which is empty."""
    counts = np.array([len(part) for part in parts])
    sums: Nll = np.add.reduceat(np.concatenate(parts), np.cumsum(counts) - counts)
    return sums, counts.astype(np.float64)


def excess(parts: Sequence[Nll]) -> Nll:
    """The sums of windows less their tokens' share of the sum over all of them."""
    sums, counts = _sums(parts)
    own: Nll = sums - sums.sum() / counts.sum() * counts
    return own


def at_least(sums: Nll, counts: Nll, *, available: int, mistaken: float) -> float:
    """A lower bound of the mean over all windows, wrong with probability ``mistaken``, from at
    least two of them at random but not all.

    The variance of a ratio of sums (Cochran, 2.11 and 6.3) with a wider margin where few windows
    far below the others would pull the mean down: the quantile of t for skewed values (Hall, The
    Bootstrap and Edgeworth Expansion, 2.6).
    """
    n = len(sums)
    value = float(sums.sum() / counts.sum())
    residuals = sums - value * counts
    quantile = student(n - 1, 1 - mistaken)
    spread = math.sqrt(float(np.square(residuals).mean()))
    skew = float((residuals**3).mean()) / spread**3 if spread else 0.0
    quantile += max(0.0, -skew) * (1 + 2 * quantile**2) / (6 * math.sqrt(n))
    variance = float(np.square(residuals).sum()) / (n - 1) / n * (1 - n / available)
    return value - quantile * math.sqrt(variance) / float(counts.mean())
