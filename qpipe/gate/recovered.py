"""Counts of items worked out from a report, where the items themselves are gone.

A report has the drop, McNemar's p-value, which with it tells the number of discordant items, and
each task's accuracy with its standard error, which tells the number of its items.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qpipe.gate.paired_items import PairedItems
from qpipe.results.scores import NORMAL_95

if TYPE_CHECKING:
    from qpipe.results.scores import Score

_CLOSE = 1e-6
# More items than any task has.
_MOST = 10_000_000


def recovered(scores: Mapping[str, Score], items: int) -> dict[str, PairedItems] | None:
    """Return the counts of each task by the key of its score; None where they do not add up to all
    ``items`` that were asked, or a report says too little."""
    if items > _MOST:
        return None
    sizes = {key: items if len(scores) == 1 else _size(score) for key, score in scores.items()}
    unknown = [key for key, size in sizes.items() if size is None]
    if len(unknown) == 1:  # all right, or all wrong: what the others leave
        sizes[unknown[0]] = items - sum(size for size in sizes.values() if size is not None)
    known = {key: size for key, size in sizes.items() if size is not None and size > 0}
    if len(known) < len(scores) or sum(known.values()) != items:
        return None
    counts = {key: _counts(scores[key], size) for key, size in known.items()}
    whole = {key: each for key, each in counts.items() if each is not None}
    return whole if len(whole) == len(counts) else None


def _size(score: Score) -> int | None:
    """The number of items of an accuracy a: lm-eval's standard error is √(a(1 - a)/(n - 1))."""
    if not score.stderr:
        return None
    return round(score.value * (1 - score.value) / score.stderr**2) + 1


def _counts(score: Score, items: int) -> PairedItems | None:
    """The counts that give a score's difference, its p-value and about its interval."""
    delta = score.delta
    if delta is None or delta.p is None or delta.low is None or delta.high is None:
        return None
    net = delta.value * items
    if abs(net - round(net)) > 1e-3:
        return None
    gained_more = round(net)
    discordant = _discordant(abs(gained_more), items, delta.p, (delta.high - delta.low) / 2)
    if discordant is None:
        return None
    gained = (discordant + gained_more) // 2
    return PairedItems(items, discordant - gained, gained)


def _discordant(net: int, items: int, p: float, half: float) -> int | None:
    """The number of discordant items: as many as make ``p``, or where that is 1 whatever their
    number, the interval."""
    if net == 0 or p >= 1:
        spread = (items * half / NORMAL_95) ** 2 + net**2 / items
        found = max(net, round(spread))
        return min(items, found + (found - net) % 2)

    def p_of(pairs: int) -> float:
        return PairedItems(items, net + pairs, pairs).p_mcnemar

    # The more pairs of one lost and one gained there are beside ``net``, the larger is p.
    few, many = 0, (items - net) // 2
    while few < many:
        middle = (few + many) // 2
        few, many = (middle + 1, many) if p_of(middle) < p * (1 - _CLOSE) else (few, middle)
    return net + 2 * few if abs(p_of(few) - p) <= p * _CLOSE else None
