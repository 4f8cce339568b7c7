"""The negative log-likelihood of a text, window by window, and two models' perplexities compared.

Both models were given the same windows, so what counts is where they differ: the interval is far
narrower than the two standard errors suggest. ``windows.json`` of an artifact holds the sums.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist

from qpipe.results.scores import Difference

FILE = "windows.json"
# The score of a protocol's unit: perplexity a token or a word, bits a byte.
SCORES = {"token": "ppl", "word": "word_ppl", "byte": "bits_per_byte"}
# Of fewer windows nobody can say how much they differ.
_LEAST = 3


@dataclass(frozen=True)
class WindowSums:
    """``nll`` is each window's sum over its scored ``tokens``, in nats; ``unit`` is what the score
    is of (token, word or byte), of which the text has ``units``."""

    nll: Sequence[float]
    tokens: Sequence[int]
    unit: str
    units: int

    def write(self, folder: Path) -> None:
        """Write the file of an artifact."""
        (folder / FILE).write_text(json.dumps(asdict(self), allow_nan=False) + "\n")

    @property
    def score(self) -> float:
        """Perplexity a token or a word, or bits a byte."""
        mean = sum(self.nll) / self.units
        return mean / math.log(2) if self.unit == "byte" else math.exp(mean)

    @property
    def slope(self) -> float:
        """The derivative of `score` by the sum of the text's nll."""
        return (1 / math.log(2) if self.unit == "byte" else self.score) / self.units


def read(folder: Path) -> WindowSums | None:
    """The sums of an artifact; None of one that has none."""
    try:
        record = json.loads((folder / FILE).read_bytes())
    except FileNotFoundError:
        return None
    return WindowSums(**record)


def difference(model: WindowSums, reference: WindowSums) -> Difference | None:
    """The difference of two scores with its 95 % interval; None of other windows.

    To first order a score s moves by ds/dS with the sum S of the nll (the delta method: Wasserman,
    All of Statistics, 5.5), so window w moves the difference by

        r_w = dA/dS · (a_w - ā n_w) - dB/dS · (b_w - b̄ n_w),    ā = Σ a / Σ n, b̄ likewise,

    and its variance is k / (k - 1) · Σ r_w² of k windows: that of a difference of two ratios of
    sums, in pairs (Cochran, Sampling Techniques, 2.11 and 6.3). Windows are what is drawn: tokens
    of one window are no independent draws. The interval is ± Student's quantile with k - 1 degrees
    of freedom times its root; there is none of fewer than three windows.
    """
    if _on(model) != _on(reference):
        return None
    value = model.score - reference.score
    half = half_width(
        [model.slope * own for own in _residuals(model)],
        [reference.slope * own for own in _residuals(reference)],
    )
    return Difference(value) if half is None else within(value, half)


def _on(sums: WindowSums) -> tuple[list[int], str, int]:
    return [*sums.tokens], sums.unit, sums.units


def within(value: float, half: float) -> Difference:
    """A difference with an interval of ``half`` to each side."""
    return Difference(value, low=value - half, high=value + half)


def half_width(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Half the 95 % interval of a difference that windows move by so much each, see `difference`;
    None of fewer than three."""
    count = len(ours)
    if count < _LEAST:
        return None
    squares = sum((one - other) ** 2 for one, other in zip(ours, theirs, strict=True))
    return student(count - 1) * math.sqrt(squares * count / (count - 1))


def _residuals(sums: WindowSums) -> list[float]:
    """The sums of windows less their tokens' share of the whole sum."""
    mean = sum(sums.nll) / sum(sums.tokens)
    return [nll - mean * count for nll, count in zip(sums.nll, sums.tokens, strict=True)]


def student(freedom: int, below: float = 0.975) -> float:
    """A quantile of Student's t (Abramowitz and Stegun, 26.7.5); of 97.5 %, 1 % off at 3."""
    z = NormalDist().inv_cdf(below)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(sum(term / freedom**power for power, term in enumerate(terms)))
