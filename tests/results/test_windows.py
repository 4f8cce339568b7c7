"""Differences of perplexities, window by window, against a bootstrap that knows no formula."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpipe.results import windows
from qpipe.results.windows import WindowSums, difference


def drawn(
    count: int, *, worse: float, noise: float, unit: str = "token", seed: int = 0
) -> tuple[WindowSums, WindowSums]:
    """A model and its reference on windows that are hard or easy for both."""
    rng = random.Random(seed)
    tokens = [rng.choice((64, 128, 127)) for _ in range(count)]
    hard = [rng.gauss(2.2, 0.4) for _ in range(count)]
    reference = [n * h for n, h in zip(tokens, hard, strict=True)]
    model = [n * (h * (1 + worse) + rng.gauss(0, noise)) for n, h in zip(tokens, hard, strict=True)]
    units = {"token": sum(tokens), "word": 4000, "byte": 40_000}[unit]
    return WindowSums(model, tokens, unit, units), WindowSums(reference, tokens, unit, units)


def taken(sums: WindowSums, times: Any) -> Any:
    """The scores of texts that have each window so many times: [texts, windows]."""
    mean = times @ sums.nll / (times @ sums.tokens) * (sum(sums.tokens) / sums.units)
    return mean / math.log(2) if sums.unit == "byte" else np.exp(mean)


@pytest.mark.parametrize("unit", ["token", "word", "byte"])
@pytest.mark.parametrize("worse", [0.0, 0.02])
def test_the_interval_is_that_of_a_bootstrap_over_windows(unit: str, worse: float) -> None:
    model, reference = drawn(200, worse=worse, noise=0.03, unit=unit)
    times = np.random.default_rng(1).multinomial(200, np.full(200, 1 / 200), size=10_000)
    again = taken(model, times) - taken(reference, times)
    low, high = np.quantile(again, (0.025, 0.975))
    found = difference(model, reference)
    assert found is not None and found.low is not None and found.high is not None
    assert found.value == pytest.approx(model.score - reference.score)
    width = high - low
    assert found.high - found.low == pytest.approx(width, rel=0.1)
    assert found.low == pytest.approx(low, abs=0.1 * width)
    # Apart, the two would be told from each other far later.
    assert width < 0.3 * float(np.ptp(np.quantile(taken(model, times), (0.025, 0.975))))


def test_it_holds_the_truth_in_95_of_100_texts() -> None:
    """Of windows whose mean difference is known: 0.02 nats a token at 2.2 nats."""
    held = 0
    for seed in range(300):
        rng = random.Random(seed)
        base = [100 * rng.gauss(2.2, 0.2) for _ in range(12)]
        moved = [nll + 100 * rng.gauss(0.02, 0.03) for nll in base]
        model, reference = (WindowSums(of, [100] * 12, "token", 1200) for of in (moved, base))
        found = difference(model, reference)
        assert found is not None and found.low is not None and found.high is not None
        held += found.low <= reference.score * (math.exp(0.02) - 1) <= found.high
    assert 0.92 <= held / 300 <= 0.98


def test_three_windows_by_hand() -> None:
    # Perplexities e^2 and e^1; what windows move: e²·(-1, 0, 1)/3 and nothing; 4.303 is Student's.
    model = WindowSums([1.0, 2.0, 3.0], [1, 1, 1], "token", 3)
    reference = WindowSums([1.0, 1.0, 1.0], [1, 1, 1], "token", 3)
    found = difference(model, reference)
    assert found is not None and found.high is not None
    assert found.value == pytest.approx(math.e**2 - math.e)
    half = 4.303 * math.e**2 / 3 * math.sqrt(2 * 3 / 2)
    assert found.high - found.value == pytest.approx(half, rel=0.01)


def test_equal_models_differ_by_nothing() -> None:
    _, reference = drawn(20, worse=0, noise=0)
    found = difference(reference, reference)
    assert found is not None
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_two_windows_have_no_interval_and_other_windows_no_difference() -> None:
    one = WindowSums([1.0, 2.0], [1, 1], "token", 2)
    found = difference(one, one)
    assert found is not None and (found.low, found.high) == (None, None)
    assert difference(one, WindowSums([1.0, 2.0], [1, 2], "token", 3)) is None
    assert difference(one, WindowSums([1.0, 2.0], [1, 1], "word", 2)) is None


def test_written_and_read_back(tmp_path: Path) -> None:
    assert windows.read(tmp_path) is None, "older measurements have none"
    model, _ = drawn(5, worse=0.1, noise=0.1)
    model.write(tmp_path)
    assert windows.read(tmp_path) == model
    assert json.loads((tmp_path / "windows.json").read_text())["unit"] == "token"
