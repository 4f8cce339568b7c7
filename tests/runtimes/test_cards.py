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
        ("RTX 4090 24GB", "GeForce RTX 4090"),
        ("RTX 4060 Ti 8GB", "GeForce RTX 4060 Ti 8GB"),
    ],
)
def test_a_name_as_drivers_and_people_say_it(text: str, name: str) -> None:
    (card,) = cards.cards(text)
    assert card.name == name
    assert card.bandwidth is not None and 1e11 < card.bandwidth < 1e13
    assert card.source


@pytest.mark.parametrize(
    ("text", "memories"),
    [
        ("RTX 4090 x2", [24564, 24564]),
        ("4090 + 3090", [24564, 24576]),
        ("24GB, 12GB", [24576, 12288]),
        ("RTX 3060 8GB", [8192]),
        # Of what it shares with the CPU a part: two thirds, and of more than 32 GB three quarters.
        ("M3 Max 64GB", [49152]),
        ("apple m2 (24 GB)", [16384]),
    ],
)
def test_several_cards_and_memory_beside_a_name(text: str, memories: list[int]) -> None:
    assert [card.memory >> 20 for card in cards.cards(text)] == memories


def test_a_card_that_shares_memory_says_so() -> None:
    (card,) = cards.cards("M4 Pro 48GB")
    assert (card.name, card.left) == ("Apple M4 Pro 48GB", 12 << 30)
    assert card.note is not None and "36 of its 48 GiB" in card.note
    (other,) = cards.cards("RTX 3060 8GB")
    assert (other.name, other.note) == ("GeForce RTX 3060 8GB", None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("M4", "say how much, as M4 64GB"),
        ("24", "24 of what? As 24GB"),
        ("RTX 4090 Laptop GPU", "give the memory, as 8GB"),
        ("H10", "did you mean H100 SXM?"),
        ("banana", "as in RTX 4090, 2x H100"),
        ("24GB + banana", "--gpu 24GB + banana"),
    ],
)
def test_what_is_lacking_is_said(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        cards.cards(text)
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "banana", "0GB", "24", "0x24GB", "999x24GB", "-8GB"])
def test_what_means_nothing_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="--gpu") as caught:
        cards.cards(text)
    assert text in str(caught.value)


def test_the_nearest_names_are_said() -> None:
    with pytest.raises(UsageError, match="GeForce RTX 4090"):
        cards.cards("RTX 4091")


def test_every_card_has_a_source() -> None:
    for name in cards.names():
        card = cards.find(name) or cards.find(f"{name} 64GB")
        assert card is not None and card.source and card.memory >= 7 << 30, name
