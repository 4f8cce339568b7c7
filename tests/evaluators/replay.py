"""A guided sweep over sums that are known already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qpipe.evaluators.text.elimination import (
    CandidateLevel,
    Goal,
    Standing,
    SweepQuestion,
    comparisons,
    rounds,
)

_FIRST = 16


def replayed(
    sums: npt.NDArray[np.float64],
    sizes: Sequence[int],
    order: Sequence[int],
    *,
    tokens: float,
    goal: Goal = "front",
    max_kld: float | None = None,
    confidence: float = 0.95,
) -> tuple[Standing, int]:
    """What is found in windows of so many ``tokens``, taken in this order, and how many windows
    that took; ``sums`` [levels, windows, 2] are the least and the most of each."""
    available = sums.shape[1]
    plan = rounds(available, _FIRST)
    bounds = comparisons(len(sizes), len(plan) - 1, bounded=max_kld is not None)
    counts = np.full(available, float(tokens))
    standing = Standing(SweepQuestion(goal, max_kld, counts, confidence, bounds))
    standing.open = [*map(str, range(len(sizes)))]
    taken = np.zeros(len(sizes), int)
    for windows in plan:
        taken[[int(name) for name in standing.open]] = windows
        candidates = []
        for level, size in enumerate(sizes):
            own = np.full((available, 2), np.nan)
            seen = order[: taken[level]]
            own[seen] = sums[level, seen]
            candidates.append(CandidateLevel(str(level), size, own))
        standing.look(candidates)
        if not standing.open:
            break
    return standing, int(taken.sum())
