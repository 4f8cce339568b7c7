"""How often the gate errs, by simulation: a truth exactly at the bound, drawn again and again."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qpipe.gate.paired_items import LEVEL, PairedItems
from qpipe.gate.window_means import WindowMean

# Of 127 tokens each, tinystories-d256's: sums of KL divergence, and of the difference in nll.
MEASURED: dict[str, list[float]] = json.loads(
    (Path(__file__).parent / "windows.json").read_text(encoding="utf-8")
)

Draw = Callable[[Any, Any], Any]


class Rates(NamedTuple):
    """In how many of 100 draws a regression was declared, and how many were accepted."""

    alarms: float
    accepted: float


def _windows(values: Sequence[float]) -> tuple[Draw, float]:
    own = np.array(values)
    return (lambda rng, size: rng.choice(own, size)), float(own.mean())


# What windows add up to, and the mean of it. Skewness: 0, 1, 2, 2.8, 1.75, 3.7, then measured ones.
SHAPES: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, size: rng.normal(2, 1, size), 2.0),
    "gamma 4": (lambda rng, size: rng.gamma(4, size=size), 4.0),
    "gamma 1": (lambda rng, size: rng.gamma(1, size=size), 1.0),
    "gamma 0.5": (lambda rng, size: rng.gamma(0.5, size=size), 0.5),
    "lognormal 0.5": (lambda rng, size: rng.lognormal(0, 0.5, size), float(np.exp(0.125))),
    "lognormal 0.8": (lambda rng, size: rng.lognormal(0, 0.8, size), float(np.exp(0.32))),
    "-lognormal 0.8": (lambda rng, size: -rng.lognormal(0, 0.8, size), -float(np.exp(0.32))),
    **{name: _windows(values) for name, values in MEASURED.items()},
}


def of_windows(shape: str, windows: int, *, draws: int, seed: int = 0) -> Rates:
    draw, mean = SHAPES[shape]
    counts = [127] * windows
    sums = draw(np.random.default_rng(seed), (draws, windows))
    bound = mean / 127
    means = [WindowMean.of(each, counts) for each in sums.tolist()]
    return Rates(
        100 * float(np.mean([each.p_above(bound) <= LEVEL for each in means])),
        100 * float(np.mean([each.p_below(bound) <= LEVEL for each in means])),
    )


@functools.cache
def decided(items: int, lost: int, gained: int, bound: float) -> tuple[bool, bool]:
    """Whether a regression is declared, and whether it is accepted."""
    paired = PairedItems(items, lost, gained)
    return paired.p_above(bound) <= LEVEL, paired.p_below(bound) <= LEVEL


def of_items(
    tasks: Sequence[tuple[int, float, float]], *, draws: int, bound: float | None = None,
    seed: int = 0,
) -> Rates:  # fmt: skip
    """``tasks`` are items, share of discordant ones, and drop; the bound is the drop of all."""
    rng = np.random.default_rng(seed)
    items = sum(n for n, _, _ in tasks)
    if bound is None:
        bound = sum(n * drop for n, _, drop in tasks) / items
    counts = np.zeros((draws, 3), int)
    for n, share, drop in tasks:
        odds = [(share + drop) / 2, (share - drop) / 2, 1 - share]
        counts += rng.multinomial(n, odds, size=draws)
    said = [decided(items, int(lost), int(gained), bound) for lost, gained, _ in counts]
    alarms, accepted = np.mean(said, axis=0)
    return Rates(100 * float(alarms), 100 * float(accepted))
