"""Means and errors against cases worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from qpipe.evaluators.text import statistics
from qpipe.results.windows import student


def test_mean_and_error_by_hand() -> None:
    # Mean 3, mean square 10, so variance 1 (over n) and error sqrt(1 / 3).
    found = statistics.mean(np.array([2.0, 2.0, 4.0, 4.0]))
    assert found.value == 3.0
    assert found.stderr == pytest.approx(math.sqrt(1 / 3))


def test_perplexity_by_hand() -> None:
    found = statistics.perplexity(np.array([2.0, 2.0, 4.0, 4.0]))
    assert found.value == pytest.approx(math.exp(3))
    assert found.stderr == pytest.approx(math.exp(3) / math.sqrt(3))


def test_a_mean_over_words_by_hand() -> None:
    # 12 nats over 3 words: 4 nats a word; the error of the sum over 3.
    found = statistics.perplexity(np.array([2.0, 2.0, 4.0, 4.0]), units=3)
    assert found.value == pytest.approx(math.exp(4))
    assert found.stderr == pytest.approx(math.exp(4) * 4 / 3 / math.sqrt(3))


def test_bits_a_byte_by_hand() -> None:
    # 8 ln 2 nats are 8 bits; over 4 bytes, 2.
    found = statistics.bits(np.array([1.0, 3.0, 3.0, 1.0]) * math.log(2), units=4)
    assert found.value == pytest.approx(2)
    assert found.stderr == pytest.approx(math.sqrt(1 / 3))


def test_one_token_has_no_error_estimate() -> None:
    assert math.isnan(statistics.mean(np.array([2.0])).stderr)


def test_a_paired_difference_is_tighter_than_two_perplexities() -> None:
    # Each token 0.1 nats worse: ppl e^0.1 times as high. The terms ppl·nll - ref·nll_ref are
    # e^3.1·(x + 0.1) - e^3·x: spread e^3·(e^0.1 - 1) times that of x, which is 1.
    reference = np.array([2.0, 2.0, 4.0, 4.0])
    found = statistics.paired_difference(reference + 0.1, reference)
    assert found.value == pytest.approx(math.exp(3.1) - math.exp(3))
    assert found.stderr == pytest.approx(math.exp(3) * (math.exp(0.1) - 1) / math.sqrt(3))
    assert found.stderr < 0.2 * statistics.perplexity(reference).stderr


def test_root_mean_square_by_hand() -> None:
    # Squares 1 and 9: mean 5, variance 16, error sqrt(16 / 1); halved over sqrt(5).
    found = statistics.root_mean_square(np.array([1.0, -3.0]))
    assert found.value == pytest.approx(math.sqrt(5))
    assert found.stderr == pytest.approx(4 / (2 * math.sqrt(5)))
    assert statistics.root_mean_square(np.zeros(4)) == statistics.Mean(0.0, 0.0)


def test_an_interval_over_windows_by_hand() -> None:
    """Three of 12 windows of two tokens each. Sums are 2, 4, 6; of what is known 0, 2, 10, whose
    mean of a token is 2 here and 3 in the whole text."""
    parts = [np.array([value, value]) for value in (1.0, 2.0, 3.0)]
    known = [np.array(pair) for pair in ((0.0, 0.0), (1.0, 1.0), (2.0, 8.0))]
    found = statistics.over_windows(parts, available=12, covariate=known, whole=3.0)
    # Residuals -2, 0, 2 on -4, -2, 6: slope 20/56, and 6/7 of squares left for one degree.
    assert found.value == pytest.approx(2 + 20 / 56)
    variance = 6 / 7 * ((1 - 3 / 12) / 3 + 2**2 / 56)
    assert found.half == pytest.approx(student(1) * math.sqrt(variance) / 2)
    assert found.relative == found.half / found.value


def test_what_is_the_same_everywhere_moves_nothing() -> None:
    parts = [np.array([value, value]) for value in (1.0, 2.0, 3.0)]
    known = [np.array([5.0, 5.0])] * 3
    found = statistics.over_windows(parts, available=12, covariate=known, whole=5.0)
    assert found.value == 2.0
    assert found.half == pytest.approx(student(1) * math.sqrt(8 * 0.75 / 3) / 2)


def test_all_windows_leave_nothing_open_and_two_leave_all() -> None:
    parts = [np.array([1.0, 5.0]), np.array([2.0])]
    beside: dict[str, Any] = {"covariate": parts, "whole": 3.0}
    assert statistics.over_windows(parts, available=2, **beside) == statistics.Interval(8 / 3, 0.0)
    assert statistics.over_windows(parts, available=3, **beside).half == math.inf


@pytest.mark.parametrize(("freedom", "quantile"), [(5, 2.5706), (9, 2.2622), (30, 2.0423)])
def test_students_quantiles(freedom: int, quantile: float) -> None:
    assert student(freedom) == pytest.approx(quantile, rel=5e-4)


def test_what_a_mean_is_at_least_by_hand() -> None:
    # Four windows of two tokens, of many: sums 1, 3, 3, 5, so a mean of 1.5, residuals -2, 0, 0, 2
    # (not skewed), and an error of sqrt(8 / 3 / 4) / 2. Student's 90 % at 3 is 1.638.
    sums, counts = np.array([1.0, 3.0, 3.0, 5.0]), np.full(4, 2.0)
    found = statistics.at_least(sums, counts, available=10**9, mistaken=0.1)
    assert found == pytest.approx(1.5 - 1.638 * math.sqrt(2 / 3) / 2, abs=1e-3)


def test_a_window_far_below_the_others_widens_the_margin_and_one_above_does_not() -> None:
    below, above = np.array([2.0, 3.0, 3.0, -8.0]), np.array([-2.0, -3.0, -3.0, 8.0])

    def margin(sums: npt.NDArray[np.float64]) -> float:
        found = statistics.at_least(sums, np.ones(4), available=10**9, mistaken=0.1)
        return float(sums.mean()) - found

    # Sums about 0, mean square 21.5, mean cube -112.5 to the spread's 99.7: skew -1.1285.
    by = 1.1285 * (1 + 2 * 1.638**2) / (6 * 2) * math.sqrt(86 / 3) / 2
    assert margin(below) - margin(above) == pytest.approx(by, rel=2e-3)


def test_students_quantiles_by_the_table() -> None:
    assert student(15) == pytest.approx(2.1314, abs=1e-4)
    assert student(15, 0.9995) == pytest.approx(4.0728, abs=2e-4)
    assert student(30, 0.9995) == pytest.approx(3.6460, abs=1e-4)
