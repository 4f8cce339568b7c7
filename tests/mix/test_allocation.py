"""The allocation against every choice there is, and on a model's worth of tensors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpipe.mix.allocation import NoChoiceError, Option, allocate

OPTION = st.builds(Option, st.integers(1, 30), st.integers(0, 1000).map(lambda n: n / 7))
GROUPS = st.lists(st.lists(OPTION, min_size=1, max_size=4), min_size=1, max_size=5)


@settings(max_examples=300, deadline=None)
@given(GROUPS, st.integers(1, 120))
def test_as_trying_all(groups: list[list[Option]], budget: int) -> None:
    within = [
        choice
        for choice in itertools.product(*groups)
        if sum(option.size for option in choice) <= budget
    ]
    if not within:
        with pytest.raises(NoChoiceError) as refused:
            allocate(groups, budget)
        assert refused.value.least == sum(min(o.size for o in group) for group in groups)
        return
    choice = [group[at] for group, at in zip(groups, allocate(groups, budget), strict=True)]
    assert sum(option.size for option in choice) <= budget
    best = min(sum(option.loss for option in each) for each in within)
    assert sum(option.loss for option in choice) == pytest.approx(best, rel=1e-9, abs=1e-9)


def tensors(count: int, seed: int) -> list[list[Option]]:
    """Tensors of a large model's sizes; what is lost falls fourfold with each bit."""
    rng = np.random.default_rng(seed)
    bits = (2.0625, 2.625, 3.0625, 3.4375, 4.25, 4.5, 5.5, 6.5625, 8.5)
    groups = []
    for _ in range(count):
        weights = int(rng.choice([4096 * 4096, 1024 * 4096, 14336 * 4096]))
        scale = float(rng.lognormal(0, 1.5))
        groups.append(
            [Option(weights * b / 8, scale * 4.0**-b * float(rng.lognormal(0, 0.2))) for b in bits]
        )
    return groups


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_large_model_is_exact(seed: int) -> None:
    groups = tensors(260, seed)
    budget = sum(group[5].size for group in groups)
    choice = allocate(groups, budget)
    taken = [group[at] for group, at in zip(groups, choice, strict=True)]
    assert sum(option.size for option in taken) <= budget
    # The bound of a relaxation, computed here by itself: nothing can lose less.
    prices = np.geomspace(1e-16, 1e-6, 400)
    bound = max(
        sum(min(o.loss + price * o.size for o in group) for group in groups) - price * budget
        for price in prices
    )
    assert sum(option.loss for option in taken) <= 1.02 * bound
