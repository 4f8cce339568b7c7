"""The loss of a tensor in each type: from those measured, its anchors, and from its errors."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from qpipe.gguf.types import GGMLType

Kind = TypeVar("Kind", bound=Hashable)

# A loss below this cannot be told from rounding (`qpipe.evaluators.text.distributions`).
_FLOOR = 1e-9


def anchors(kinds: Sequence[GGMLType], count: int) -> list[GGMLType]:
    """So many of the types, evenly from small to large, the ends aside where others are left."""
    if count >= len(kinds):
        return list(kinds)
    return evenly(sorted(kinds, key=lambda kind: kind.tensor_bytes((1, 256 * 64))), count)


def evenly(ordered: Sequence[Kind], count: int) -> list[Kind]:
    """So many of what is in order, the ends aside where others are left."""
    if count >= len(ordered):
        return list(ordered)
    places = [round((at + 0.5) * len(ordered) / count - 0.5) for at in range(count)]
    return [ordered[place] for place in sorted(set(places))]


def losses_of(errors: Mapping[Kind, float], measured: Mapping[Kind, float]) -> dict[Kind, float]:
    """The loss in each type: measured, or from its error: between two anchors along the line
    through both in logarithms, beyond them in proportion to the nearest."""
    known = sorted(
        (errors[kind], max(kld, _FLOOR)) for kind, kld in measured.items() if errors[kind] > 0
    )
    losses = {}
    for kind, error in errors.items():
        if kind in measured:
            losses[kind] = max(measured[kind], 0.0)
        elif not error or not known:
            losses[kind] = 0.0
        else:
            losses[kind] = _between(error, known)
    return losses


def _between(error: float, known: Sequence[tuple[float, float]]) -> float:
    below = [point for point in known if point[0] <= error]
    above = [point for point in known if point[0] >= error]
    if not below or not above or below[-1][0] == above[0][0]:
        near = below[-1] if below else above[0]
        return near[1] * error / near[0]
    (low, low_kld), (high, high_kld) = below[-1], above[0]
    share = math.log(error / low) / math.log(high / low)
    return math.exp((1 - share) * math.log(low_kld) + share * math.log(high_kld))
