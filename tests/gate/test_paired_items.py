"""Paired items beside a bound, against what can be counted by hand or enumerated."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qpipe.gate.paired_items import PairedItems
from qpipe.gate.quantiles import share_at_most


def test_mcnemar_by_hand() -> None:
    # 7 discordant, 1 against 6: 2 · (C(7,0) + C(7,1)) / 2⁷ = 16 / 128.
    assert PairedItems(20, 6, 1).p_mcnemar == pytest.approx(0.125)
    assert PairedItems(20, 1, 6).p_better == pytest.approx(0.125)
    assert PairedItems(20, 6, 1).p_worse == pytest.approx(0.125)
    assert PairedItems(20, 6, 1).p_better == PairedItems(20, 0, 0).p_mcnemar == 1.0


def enumerated(n: int, least: int, drop: float, share: float) -> float:
    """P(lost - gained ≥ least), by every pair of counts."""
    lose, gain, keep = (share + drop) / 2, (share - drop) / 2, 1 - share
    total = 0.0
    for lost in range(n + 1):
        for gained in range(n + 1 - lost):
            if lost - gained >= least:
                ways = math.comb(n, lost) * math.comb(n - lost, gained)
                total += ways * lose**lost * gain**gained * keep ** (n - lost - gained)
    return total


@pytest.mark.parametrize(("lost", "gained"), [(3, 0), (5, 2), (1, 4), (0, 0), (9, 1)])
def test_the_p_value_is_the_largest_over_shares_of_discordant_items(lost: int, gained: int) -> None:
    items, bound = PairedItems(25, lost, gained), 0.04
    for spent in (0.01, 1e-5):
        most = share_at_most(lost + gained, 25, spent)
        above = [enumerated(25, lost - gained, min(bound, s), s) for s in np.linspace(0, most, 60)]
        below = [
            1 - enumerated(25, lost - gained + 1, bound, s) for s in np.linspace(bound, most, 60)
        ]
        largest = min(1.0, max(above) + spent), min(1.0, max(below) + spent)
        assert items._largest(bound, spent) == pytest.approx(largest[0], abs=3e-3)
        assert items._swapped._largest(-bound, spent) == pytest.approx(largest[1], abs=3e-3)


def test_many_checks_leave_a_large_loss_seen() -> None:
    """What is spent on the share must not be more than a level that ten checks share."""
    lost = PairedItems(2000, 80, 10).p_above(0.01)
    assert 1e-5 < lost < 1e-4
    assert PairedItems(2000, 45, 10).p_above(0.01) >= 0.02


def test_models_that_answer_alike_are_accepted_once_items_suffice() -> None:
    """With no discordant item 459 rule out 1 %, as 0.99⁴⁵⁹ is 1 %."""
    few, enough = PairedItems(400, 0, 0), PairedItems(700, 0, 0)
    assert few.value == enough.value == 0.0
    assert few.needed(0.01) == 459 and enough.p_below(0.01) <= 0.05 < few.p_below(0.005)
    assert few.low == pytest.approx(-few.high) and few.high > enough.high > 0


@pytest.mark.parametrize(
    "items", [PairedItems(1, 0, 0), PairedItems(1, 1, 0), PairedItems(1, 0, 1)]
)
def test_one_item_says_nothing(items: PairedItems) -> None:
    assert items.p_above(0.01) > 0.05 and items.p_below(0.01) > 0.05
    assert items.low < 0 < items.high and items.mde > 0.9


def test_limits_are_where_the_tests_decide() -> None:
    items = PairedItems(1000, 60, 25)
    assert items.low < items.value < items.high
    assert items.p_above(items.low - 1e-3) <= 0.05 < items.p_above(items.low + 1e-3)
    assert items.p_below(items.high + 1e-3) <= 0.05 < items.p_below(items.high - 1e-3)
    # Near the normal interval of a mean of paired differences, and no narrower.
    half = 1.645 * math.sqrt(0.085 - 0.035**2) / math.sqrt(1000)
    assert 1.0 <= (items.high - items.low) / (2 * half) < 1.25


def test_what_is_surely_lost_and_surely_kept() -> None:
    assert PairedItems(1000, 100, 20).p_above(0.01) < 1e-4
    assert PairedItems(5000, 100, 100).p_below(0.01) < 1e-2
    assert PairedItems(1000, 1000, 0).p_above(0.01) < 1e-4
    assert PairedItems(1000, 0, 1000).p_below(0.01) < 1e-4


def test_more_items_are_asked_for_the_nearer_the_bound() -> None:
    items = PairedItems(1000, 30, 25)
    far, near = items.needed(0.02), items.needed(0.007)
    assert far is not None and near is not None and 1000 < far < near
    assert items.needed(items.value) is None
    several = PairedItems(1000, 60, 25)
    alone, among = several.needed(0.03), several.needed(0.03, among=10)
    assert alone is not None and among is not None and among > alone


def test_tasks_add_up() -> None:
    assert PairedItems(10, 2, 1) + PairedItems(5, 0, 3) == PairedItems(15, 2, 4)
