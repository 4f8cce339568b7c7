"""The Pareto front of size and quality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from qpipe.results.scores import Better


class Point(NamedTuple):
    """A model: its bytes and one score."""

    name: str
    size: float
    score: float


def front(points: Sequence[Point], better: Better) -> list[str]:
    """Return the names of the points to which no other is preferable: no larger, no worse, and in
    one of both better. From the smallest to the largest; equal points are all on it."""
    sign = 1.0 if better == "lower" else -1.0
    ranked = sorted(points, key=lambda point: (point.size, sign * point.score))
    names: list[str] = []
    best: Point | None = None
    for point in ranked:
        if best is None or sign * point.score < sign * best.score or point[1:] == best[1:]:
            names.append(point.name)
            best = point
    return names
