"""Cards by memory or name, as --gpu takes them."""

from __future__ import annotations

import pytest

from qpipe.errors import UsageError
from qpipe.runtimes import cards


@pytest.mark.parametrize(
    ("text", "gib", "count"),
    [("24GB", 24, 1), ("24 GiB", 24, 1), ("0.5TB", 512, 1), ("2x24GB", 24, 2), ("8 × 80G", 80, 8)],
)
def test_memory_is_counted_as_vendors_do(text: str, gib: int, count: int) -> None:
    found = cards.cards(text)
    assert [card.memory for card in found] == [gib << 30] * count
    assert found[0].bandwidth is None  # so that no speed is said


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("RTX 4090", "GeForce RTX 4090"),
        ("NVIDIA GeForce RTX 4090", "GeForce RTX 4090"),
        ("rtx-3090", "GeForce RTX 3090"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("Tesla T4", "Tesla T4"),
        ("a100-40gb", "A100 40GB"),
    ],
)
def test_a_name_as_drivers_and_people_say_it(text: str, name: str) -> None:
    (card,) = cards.cards(text)
    assert card.name == name
    assert card.bandwidth is not None and 1e11 < card.bandwidth < 1e13
    assert card.source


@pytest.mark.parametrize("text", ["", "banana", "0GB", "24", "0x24GB", "999x24GB", "-8GB"])
def test_what_means_nothing_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="--gpu") as caught:
        cards.cards(text)
    assert text in str(caught.value)


def test_the_nearest_names_are_said() -> None:
    with pytest.raises(UsageError, match="rtx 4090"):
        cards.cards("RTX 4091")


def test_every_card_has_a_source() -> None:
    for name in cards.names():
        card = cards.find(name)
        assert card is not None and card.source and card.memory > 8 << 30, name
