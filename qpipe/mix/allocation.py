"""One option of each group, at the least loss within a budget: the multiple-choice knapsack, exact.

A Lagrange multiplier gives a bound on what any choice loses, and a first choice (Sinha and
Zoltners, The Multiple-Choice Knapsack Problem, Operations Research 27, 1979; Kellerer, Pferschy and
Pisinger, Knapsack Problems, chapter 11). Options that cannot beat that choice by the bound go; over
those that stay, group by group, the partial choices are kept that no other beats in both bytes and
loss.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

# Two sums of the same losses in another order differ by this share at most.
_ROUNDING = 1e-12


class Option(NamedTuple):
    """One way to store a group: what it takes of the budget, and what it loses."""

    size: float
    loss: float


class NoChoiceError(ValueError):
    """No choice keeps the budget; the smallest takes ``least``."""

    def __init__(self, least: float) -> None:
        super().__init__(f"the smallest choice takes {least:g}")
        self.least = least


def allocate(groups: Sequence[Sequence[Option]], budget: float) -> list[int]:
    """The number of the option of each group, their sizes within ``budget`` and the sum of their
    losses the least there is. Raises NoChoiceError.

    For the smallest choice within a bound on the loss, give options with the two exchanged.
    """
    sizes = [np.array([option.size for option in group], np.float64) for group in groups]
    losses = [np.array([option.loss for option in group], np.float64) for group in groups]
    least = float(sum(size.min() for size in sizes))
    if least > budget:
        raise NoChoiceError(least)
    relaxed = _relaxed(sizes, losses, budget)
    gap = _loss(losses, relaxed.choice) - relaxed.bound
    slack = gap + _ROUNDING * (abs(relaxed.bound) + 1e-300)
    reduced = [loss + relaxed.price * size for loss, size in zip(losses, sizes, strict=True)]
    reduced = [values - values.min() for values in reduced]
    open_ = [np.flatnonzero(values <= slack) for values in reduced]
    exact = _search(sizes, losses, reduced, open_, budget, slack)
    return relaxed.choice if exact is None else exact


@dataclass(frozen=True)
class _Relaxed:
    """A choice that keeps the budget, a bound on the loss of every choice, and the price of size at
    which the bound is the best."""

    choice: list[int]
    bound: float
    price: float


class _Step(NamedTuple):
    """From one option on a group's convex hull to the next larger one."""

    ratio: float
    group: int
    option: int
    size: float


def _relaxed(sizes: Sequence[Numbers], losses: Sequence[Numbers], budget: float) -> _Relaxed:
    hulls = [_hull(size, loss) for size, loss in zip(sizes, losses, strict=True)]
    choice = [hull[0] for hull in hulls]
    room = budget - float(sum(size[at] for size, at in zip(sizes, choice, strict=True)))
    price, stopped = 0.0, set[int]()
    for step in sorted(_steps(sizes, losses, hulls), key=lambda step: (-step.ratio, step.size)):
        if step.group in stopped:
            continue
        if step.size > room:
            price = max(price, step.ratio)
            stopped.add(step.group)
            continue
        choice[step.group] = step.option
        room -= step.size
    least = sum(
        float((loss + price * size).min()) for loss, size in zip(losses, sizes, strict=True)
    )
    return _Relaxed(choice, least - price * budget, price)


def _hull(size: Numbers, loss: Numbers) -> list[int]:
    """The options on the lower left convex hull, smallest first."""
    order = sorted(range(len(size)), key=lambda at: (size[at], loss[at]))
    hull: list[int] = []
    for at in order:
        if hull and loss[at] >= loss[hull[-1]]:
            continue
        while len(hull) > 1 and _above(hull[-2], hull[-1], at, size, loss):
            hull.pop()
        hull.append(at)
    return hull


def _above(one: int, two: int, three: int, size: Numbers, loss: Numbers) -> bool:
    """True if the second lies on or above the line between the others."""
    before = (loss[one] - loss[two]) * (size[three] - size[two])
    after = (loss[two] - loss[three]) * (size[two] - size[one])
    return bool(before <= after)


def _steps(
    sizes: Sequence[Numbers], losses: Sequence[Numbers], hulls: Sequence[Sequence[int]]
) -> list[_Step]:
    steps = []
    for group, hull in enumerate(hulls):
        for one, two in itertools.pairwise(hull):
            more = float(sizes[group][two] - sizes[group][one])
            gain = float(losses[group][one] - losses[group][two])
            steps.append(_Step(gain / more, group, two, more))
    return steps


def _loss(losses: Sequence[Numbers], choice: Sequence[int]) -> float:
    return float(sum(loss[at] for loss, at in zip(losses, choice, strict=True)))


def _search(
    sizes: Sequence[Numbers],
    losses: Sequence[Numbers],
    reduced: Sequence[Numbers],
    open_: Sequence[npt.NDArray[np.intp]],
    budget: float,
    slack: float,
) -> list[int] | None:
    """The best choice of open options, by partial choices that none beats; None where none keeps
    the budget."""
    size: Numbers = np.zeros(1)
    loss, over = size, size
    trail: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]] = []
    rest = np.cumsum([sizes[g][at].min() for g, at in enumerate(open_)][::-1])[::-1]
    for group, options in enumerate(open_):
        size = (size[:, None] + sizes[group][options]).ravel()
        loss = (loss[:, None] + losses[group][options]).ravel()
        over = (over[:, None] + reduced[group][options]).ravel()
        after = float(rest[group + 1]) if group + 1 < len(rest) else 0.0
        kept = np.flatnonzero((over <= slack) & (size + after <= budget))
        kept = kept[_unbeaten(size[kept], loss[kept])]
        trail.append((kept // len(options), options[kept % len(options)]))
        size, loss, over = size[kept], loss[kept], over[kept]
    if not len(loss):
        return None
    at = int(loss.argmin())
    choice = []
    for before, options in reversed(trail):
        choice.append(int(options[at]))
        at = int(before[at])
    return choice[::-1]


def _unbeaten(size: Numbers, loss: Numbers) -> npt.NDArray[np.intp]:
    """The states for which no other is as small and loses as little."""
    order = np.lexsort((loss, size))
    lowest = np.minimum.accumulate(np.concatenate([[np.inf], loss[order][:-1]]))
    unbeaten: npt.NDArray[np.intp] = order[loss[order] < lowest]
    return unbeaten
