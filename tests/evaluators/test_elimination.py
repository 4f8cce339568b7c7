"""Successive elimination: what it keeps is the front, and it looks at a part of the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from qpipe.evaluators.text.elimination import (
    Beaten,
    Goal,
    Standing,
    rounds,
)
from qpipe.evaluators.text.rivals import MeasuredLevel, unbeaten
from tests.evaluators.replay import replayed

_Array = npt.NDArray[np.float64]
_TOKENS = 128
# Bytes and nats a token of 15 levels: recipes/published/qpipe-gguf-tinystories-d256.yaml.
LEVELS = {
    "Q2_K": (1401728, 0.0829146), "Q3_K_S": (1601408, 0.0367492), "IQ3_S": (1601408, 0.039646),
    "Q3_K_M": (1766272, 0.0211088), "Q3_K_L": (1905536, 0.018715),
    "IQ4_XS": (1920896, 0.01037814), "IQ4_NL": (2019200, 0.01011056),
    "Q4_0": (2019200, 0.01282526), "Q4_K_S": (2035584, 0.00804879),
    "Q4_K_M": (2137472, 0.00784852), "Q5_K_S": (2412416, 0.00287236),
    "Q5_0": (2412416, 0.00363508), "Q5_K_M": (2473344, 0.00259639),
    "Q6_K": (2830208, 0.00124552), "Q8_0": (3655552, 0.000209883),
}  # fmt: skip


def windows_of(rng: np.random.Generator, count: int = 390) -> _Array:
    """Sums of windows, [levels, windows]: skewed, harder for all levels where they are hard."""
    shared = np.exp(0.25 * rng.normal(size=count))
    own = np.exp(0.12 * rng.normal(size=(len(LEVELS), count)))
    drawn = shared * own
    drawn /= drawn.mean(axis=1, keepdims=True)
    means: _Array = np.array([kld for _, kld in LEVELS.values()])
    sums: _Array = means[:, None] * drawn * _TOKENS
    return sums


def searched(
    sums: _Array, sizes: Sequence[int], order: Sequence[int], goal: Goal = "front", **bounds: Any
) -> tuple[Standing, int]:
    """What is found in windows taken in this order, and how many windows that took."""
    exact = np.stack([sums, sums], axis=-1)
    return replayed(exact, sizes, order, tokens=_TOKENS, goal=goal, **bounds)


def front(sums: _Array, sizes: Sequence[int]) -> list[int]:
    """The front that the whole text gives."""
    levels = [
        MeasuredLevel("", str(number), size, float(own.mean()), own)
        for number, (size, own) in enumerate(zip(sizes, sums, strict=True))
    ]
    return [int(level.format) for level in unbeaten(levels)]


def test_the_front_is_that_of_the_whole_text_from_fewer_windows() -> None:
    rng = np.random.default_rng(19)
    sizes = [size for size, _ in LEVELS.values()]
    shares, wrong = [], 0
    for _ in range(30):
        sums = windows_of(rng)
        standing, taken = searched(sums, sizes, rng.permutation(sums.shape[1]).tolist())
        wrong += [int(level.name) for level in standing.left] != front(sums, sizes)
        shares.append(taken / sums.size)
    assert wrong <= 2  # 5 % of 30
    assert np.mean(shares) < 0.5


def test_levels_as_good_as_their_rival_are_seldom_out_before_the_end() -> None:
    """The hardest case: equal in truth, so that whatever takes one out early is a mistake."""
    rng = np.random.default_rng(7)
    early = 0
    for _ in range(100):
        drawn = np.exp(0.5 * rng.normal(size=(2, 200)))
        drawn /= drawn.mean(axis=1, keepdims=True)
        standing, taken = searched(drawn, [1, 2], rng.permutation(200).tolist())
        early += taken < drawn.size and "1" in standing.beaten
    assert early <= 5


def test_twins_are_one() -> None:
    sums = windows_of(np.random.default_rng(1))[:2]
    standing, taken = searched(sums[[0, 0, 1]], [1, 2, 3], range(sums.shape[1]))
    assert standing.beaten["1"] == Beaten("same", "0", 16, 0.0, 0.0)
    assert [level.name for level in standing.left] == ["0", "2"]
    assert taken == 48


@pytest.mark.parametrize(
    ("goal", "max_kld", "expected"),
    [
        ("smallest", 0.009, ["Q4_K_S"]),
        ("smallest", 0.01, ["Q4_K_S"]),
        ("best", None, ["Q8_0"]),
        ("front", 0.0015, ["Q6_K", "Q8_0"]),
        ("front", 0.0001, []),
    ],
)
def test_bounds(goal: Goal, max_kld: float | None, expected: list[str]) -> None:
    rng = np.random.default_rng(3)
    sums, sizes = windows_of(rng), [size for size, _ in LEVELS.values()]
    order = rng.permutation(sums.shape[1]).tolist()
    standing, taken = searched(sums, sizes, order, goal, max_kld=max_kld)
    assert [[*LEVELS][int(level.name)] for level in standing.left] == expected
    assert taken < 0.4 * sums.size


def test_rounds_double_and_end_with_the_text() -> None:
    assert rounds(390, 16) == [16, 32, 64, 128, 256, 390]
    assert rounds(16, 16) == [16]
    assert rounds(5, 16) == [5]
