"""The part of a text that is enough for a KL divergence.

Windows are then taken in a random order that is the same for every model: any first part of it is
a random sample of the text, and two models' samples are pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qpipe.core.key import Json
from qpipe.evaluators.text.distributions import KLD, NLL, REFERENCE_NLL
from qpipe.evaluators.text.interfaces import Values
from qpipe.evaluators.text.reference import Reference
from qpipe.evaluators.text.rivals import MeasuredLevel
from qpipe.evaluators.text.statistics import Interval, at_least, over_windows, perplexity

# Windows before which nothing is decided: the spread of fewer is not known well enough, and the
# chance that it looks small too early is what biases a measurement that stops by itself.
LEAST = 16
# Intervals are this much wider than those of as many windows chosen beforehand: stopping at the
# first that is tight enough favours those that are so by chance. With it they cover what all
# windows give in 94 to 97 of 100 orders (tests/evaluators/test_precision.py; without, in 89
# to 94).
WIDER = 1.2
# Of levels that are in truth no worse than their rival, at most this share is stopped, however
# often one looks. Simulated: at most 0.5 % for real windows, 1.4 % for synthetic ones that were
# not looked at when the rule was chosen (docs/evaluation.md).
MISTAKEN = 0.02
# What each level's looks share (Bonferroni). It is far below MISTAKEN since windows are skewed:
# what is rare and far from the others may not be among those that were taken.
_NOMINAL = 1e-4
# From one look to the next there are so many times as many windows.
_STEP = 1.25


@dataclass(frozen=True)
class Dominance:
    """A level is larger than ``by`` and worse: by ``difference`` nats a token on the first
    ``windows``, and with confidence 1 - MISTAKEN by ``at_least`` on the whole text."""

    by: MeasuredLevel
    windows: int
    difference: float
    at_least: float


@dataclass(frozen=True)
class StoppingRule:
    """A rule for when the first windows of ``order`` are enough.

    They are once ``of`` is known to ± ``precision`` of its value, or once the ``rival``, which is
    no larger, is clearly better. None: that is not asked.
    """

    reference: Reference
    order: Sequence[int]
    precision: float | None = None
    of: str = "kld"
    rival: MeasuredLevel | None = None

    def __call__(self, values: Sequence[Values]) -> bool:
        """Asked after each group of windows."""
        return self.precise(values) or self.dominated(values) is not None

    def precise(self, values: Sequence[Values]) -> bool:
        """True if the precision was reached before the end."""
        if self.precision is None or not LEAST <= len(values) < len(self.order):
            return False
        return interval(values, self.reference, self.of).relative <= self.precision

    def dominated(self, values: Sequence[Values]) -> Dominance | None:
        """Dominance by the rival, as the last look that is due by now shows it."""
        if self.rival is None or len(values) == len(self.order):
            return None
        taken = self.rival.sums[list(self.order[: len(values)])]
        both = next((n for n, (least, _) in enumerate(taken) if least != least), len(taken))
        due = [look for look in looks(len(self.order)) if look <= both]
        return dominance(values[: due[-1]], taken[: due[-1]], self) if due else None


def looks(available: int) -> list[int]:
    """After how many windows a level is compared with its rival."""
    numbers, at = [], float(LEAST)
    while round(at) < available:
        numbers.append(round(at))
        at *= _STEP
    return numbers


def dominance(values: Sequence[Values], rival: Values, rule: StoppingRule) -> Dominance | None:
    """A level's windows with the sums of the rival's, [windows, 2]; None if it is not clear.

    The least that the level's KL divergence can be is compared with the most that the rival's can.
    """
    assert rule.rival is not None
    available = len(rule.order)
    sums = np.array([part[:, KLD].sum() for part in values]) - rival[:, 1]
    counts = np.array([len(part) for part in values], np.float64)
    mistaken = _NOMINAL / len(looks(available))
    surely = at_least(sums, counts, available=available, mistaken=mistaken)
    if surely <= 0:
        return None
    return Dominance(rule.rival, len(values), float(sums.sum() / counts.sum()), surely)


def interval(values: Sequence[Values], reference: Reference, score: str) -> Interval:
    """The 95 % interval for what all windows would give: of mean kld, or of ppl's difference.

    What the reference finds of the tokens is known for the whole text: where it is less sure, so
    are all models, and further apart.
    """
    kld = score == "kld"
    reached = over_windows(
        [part[:, KLD] if kld else part[:, NLL] - part[:, REFERENCE_NLL] for part in values],
        available=len(reference.tokenized.windows.tokens),
        covariate=[part[:, REFERENCE_NLL] for part in values],
        whole=float(reference.nll.mean()),
    )
    if kld:
        return Interval(reached.value, WIDER * reached.half)
    ours = perplexity(reference.nll + reached.value).value
    return Interval(ours - perplexity(reference.nll).value, WIDER * ours * reached.half)


def extent(values: Sequence[Values], rule: StoppingRule) -> dict[str, Json]:
    """Fields on how much of the text was enough, and for what; none if all was asked for."""
    ended = None if rule.precise(values) else rule.dominated(values)
    if ended is None and rule.precision is None:
        return {}
    windows = rule.reference.tokenized.windows
    reached = interval(values, rule.reference, rule.of if ended is None else "kld")
    return {
        "tokens": len(values) * windows.tokens.shape[1],
        "tokens_scored": sum(map(len, values)),
        "chunks": len(values),
        "interval": [reached.value - reached.half, reached.value + reached.half],
        **(_precise(values, rule) if ended is None else _dominated(values, ended, rule)),
    }


def first_windows(values: Sequence[Values], reference: Reference) -> dict[str, Json]:
    """Fields on how much of the text was taken where a number of windows was asked for."""
    windows = reference.tokenized.windows
    scored = sum(map(len, values))
    if scored == windows.scored:
        return {}
    reached = interval(values, reference, "kld")
    return {
        "tokens": len(values) * windows.tokens.shape[1],
        "tokens_scored": scored,
        "chunks": len(values),
        "interval": [reached.value - reached.half, reached.value + reached.half],
        "sampling": f"{scored:,} of {windows.scored:,} tokens, in a random order",
    }


def _precise(values: Sequence[Values], rule: StoppingRule) -> dict[str, Json]:
    scored, all_of_them = sum(map(len, values)), rule.reference.tokenized.windows.scored
    of = f"{rule.of} ± {rule.precision:.3g} of its value"
    if scored == all_of_them:
        return {"sampling": f"no fewer than all {scored:,} tokens give {of}"}
    return {"sampling": f"{scored:,} of {all_of_them:,} tokens were enough for {of}"}


def _dominated(values: Sequence[Values], ended: Dominance, rule: StoppingRule) -> dict[str, Json]:
    scored, all_of_them = sum(map(len, values)), rule.reference.tokenized.windows.scored
    return {
        "sampling": f"stopped after {scored:,} of {all_of_them:,} tokens",
        "dominated_by": {
            **ended.by.about,
            "difference": ended.difference,
            "difference_at_least": ended.at_least,
            "confidence": 1 - MISTAKEN,
        },
    }
