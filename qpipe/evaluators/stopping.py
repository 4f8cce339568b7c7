"""When the windows that a KL divergence was measured on are enough.

Windows are then taken in a random order that is the same for every model: any first part of it is
a random sample of the text, and two models' samples are pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qpipe.core.key import Json

if TYPE_CHECKING:
    from qpipe.evaluators.frontier_levels import Level
    from qpipe.evaluators.metrics.scores import Values
    from qpipe.evaluators.metrics.statistics import Interval
    from qpipe.evaluators.reference_store import Stored

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

    by: Level
    windows: int
    difference: float
    at_least: float


@dataclass(frozen=True)
class Enough:
    """A rule for when the first windows of ``order`` are enough.

    They are once ``of`` is known to ± ``precision`` of its value, or once the ``rival``, which is
    no larger, is clearly better. None: that is not asked.
    """

    stored: Stored
    order: Sequence[int]
    precision: float | None = None
    of: str = "kld"
    rival: Level | None = None

    def __call__(self, found: Sequence[Values]) -> bool:
        """Asked after each group of windows."""
        return self.precise(found) or self.dominated(found) is not None

    def precise(self, found: Sequence[Values]) -> bool:
        """True if the precision was reached before the end."""
        if self.precision is None or not LEAST <= len(found) < len(self.order):
            return False
        return interval(found, self.stored, self.of).relative <= self.precision

    def dominated(self, found: Sequence[Values]) -> Dominance | None:
        """Dominance by the rival, as the last look that is due by now shows it."""
        if self.rival is None or len(found) == len(self.order):
            return None
        taken = self.rival.sums[list(self.order[: len(found)])]
        both = next((n for n, (least, _) in enumerate(taken) if least != least), len(taken))
        due = [look for look in looks(len(self.order)) if look <= both]
        return compared(found[: due[-1]], taken[: due[-1]], self) if due else None


def looks(available: int) -> list[int]:
    """After how many windows a level is compared with its rival."""
    found, at = [], float(LEAST)
    while round(at) < available:
        found.append(round(at))
        at *= _STEP
    return found


def compared(found: Sequence[Values], rival: Values, enough: Enough) -> Dominance | None:
    """A level's windows with the sums of the rival's, [windows, 2]; None if it is not clear.

    The least that the level's KL divergence can be is compared with the most that the rival's can.
    """
    import numpy as np

    from qpipe.evaluators.metrics.distributions import KLD
    from qpipe.evaluators.metrics.statistics import at_least

    assert enough.rival is not None
    available = len(enough.order)
    sums = np.array([part[:, KLD].sum() for part in found]) - rival[:, 1]
    counts = np.array([len(part) for part in found], np.float64)
    mistaken = _NOMINAL / len(looks(available))
    surely = at_least(sums, counts, available=available, mistaken=mistaken)
    if surely <= 0:
        return None
    return Dominance(enough.rival, len(found), float(sums.sum() / counts.sum()), surely)


def interval(found: Sequence[Values], stored: Stored, what: str) -> Interval:
    """The 95 % interval for what all windows would give: of mean kld, or of ppl's difference.

    What the reference finds of the tokens is known for the whole text: where it is less sure, so
    are all models, and further apart.
    """
    from qpipe.evaluators.metrics.distributions import KLD, NLL, REFERENCE_NLL
    from qpipe.evaluators.metrics.statistics import Interval, over_windows, perplexity

    kld = what == "kld"
    reached = over_windows(
        [part[:, KLD] if kld else part[:, NLL] - part[:, REFERENCE_NLL] for part in found],
        available=len(stored.tokenized.windows.tokens),
        known=[part[:, REFERENCE_NLL] for part in found],
        whole=float(stored.nll.mean()),
    )
    if kld:
        return Interval(reached.value, WIDER * reached.half)
    ours = perplexity(stored.nll + reached.value).value
    return Interval(ours - perplexity(stored.nll).value, WIDER * ours * reached.half)


def extent(found: Sequence[Values], enough: Enough) -> dict[str, Json]:
    """Fields on how much of the text was enough, and for what; none if all was asked for."""
    ended = None if enough.precise(found) else enough.dominated(found)
    if ended is None and enough.precision is None:
        return {}
    windows = enough.stored.tokenized.windows
    reached = interval(found, enough.stored, enough.of if ended is None else "kld")
    return {
        "tokens": len(found) * windows.tokens.shape[1],
        "tokens_scored": sum(map(len, found)),
        "chunks": len(found),
        "interval": [reached.value - reached.half, reached.value + reached.half],
        **(_precise(found, enough) if ended is None else _dominated(found, ended, enough)),
    }


def _precise(found: Sequence[Values], enough: Enough) -> dict[str, Json]:
    scored, all_of_them = sum(map(len, found)), enough.stored.tokenized.windows.scored
    of = f"{enough.of} ± {enough.precision:.3g} of its value"
    if scored == all_of_them:
        return {"sampling": f"no fewer than all {scored:,} tokens give {of}"}
    return {"sampling": f"{scored:,} of {all_of_them:,} tokens were enough for {of}"}


def _dominated(found: Sequence[Values], ended: Dominance, enough: Enough) -> dict[str, Json]:
    scored, all_of_them = sum(map(len, found)), enough.stored.tokenized.windows.scored
    return {
        "sampling": f"stopped after {scored:,} of {all_of_them:,} tokens",
        "dominated_by": {
            **ended.by.about,
            "difference": ended.difference,
            "difference_at_least": ended.at_least,
            "confidence": 1 - MISTAKEN,
        },
    }
