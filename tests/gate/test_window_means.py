"""Means over windows beside a bound."""

from __future__ import annotations

import math
import random

import pytest

from qpipe.gate.estimates import PerplexityRise, ReportedInterval
from qpipe.gate.window_means import STOPPED, WindowMean
from qpipe.results.windows import WindowSums, difference


def drawn(count: int, *, skewed: bool = False, seed: int = 0) -> list[float]:
    rng = random.Random(seed)
    return [rng.lognormvariate(0, 1) if skewed else rng.gauss(2, 1) for _ in range(count)]


def test_three_windows_by_hand() -> None:
    mean = WindowMean.of([1.0, 2.0, 3.0], [1, 1, 1])
    assert (mean.value, mean.skew, mean.tokens) == (2.0, 0.0, 3)
    assert mean.stderr == pytest.approx(math.sqrt(2 * 3 / 2) / 3)
    # Of so few, 99.5 %: Student's 9.925 of two degrees of freedom.
    assert mean.high - 2 == pytest.approx(9.925 * mean.stderr, rel=1e-3)


def test_a_ratio_of_sums_where_windows_differ() -> None:
    mean = WindowMean.of([1.0, 4.0, 6.0], [1, 2, 3])
    assert mean.value == pytest.approx(11 / 6)
    residuals = [1 - 11 / 6, 4 - 22 / 6, 6 - 33 / 6]
    assert mean.stderr == pytest.approx(math.sqrt(sum(r * r for r in residuals) * 3 / 2) / 6)


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
def test_limits_are_where_the_tests_decide(skewed: bool, sign: int) -> None:
    mean = WindowMean.of([sign * each for each in drawn(40, skewed=skewed)], [10] * 40)
    step = 1e-4 * mean.stderr
    assert mean.p_above(mean.low - step) <= 0.05 < mean.p_above(mean.low + step)
    assert mean.p_below(mean.high + step) <= 0.05 < mean.p_below(mean.high - step)


def test_skewness_widens_its_own_side_alone() -> None:
    mean = WindowMean.of(drawn(40, skewed=True), [10] * 40)
    assert mean.skew > 1
    assert mean.high - mean.value > 1.2 * (mean.value - mean.low)
    assert mean.value - mean.low == pytest.approx(2.0227 * mean.stderr, rel=1e-3)


def test_windows_that_are_all_alike() -> None:
    mean = WindowMean.of([0.0] * 20, [10] * 20)
    assert (mean.value, mean.low, mean.high, mean.mde) == (0.0, 0.0, 0.0, 0.0)
    assert (mean.p_below(0.01), mean.p_above(0.01), mean.p_better) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize("count", [1, 2])
def test_two_windows_say_nothing(count: int) -> None:
    mean = WindowMean.of([5.0] * count, [10] * count)
    assert (mean.low, mean.high, mean.mde) == (-math.inf, math.inf, math.inf)
    assert mean.p_below(100) == mean.p_above(-100) == 1.0
    assert mean.needed(0.1) == 300, "30 windows"


def test_what_stopped_by_itself_is_less_sure() -> None:
    plain = WindowMean.of(drawn(30), [10] * 30)
    stopped = WindowMean.of(drawn(30), [10] * 30, value=0.21, wider=STOPPED)
    assert stopped.value == 0.21 and stopped.stderr == pytest.approx(1.2 * plain.stderr)


def test_a_rise_of_perplexity_is_that_of_reports() -> None:
    rng = random.Random(3)
    reference = [100 * rng.gauss(2.2, 0.3) for _ in range(60)]
    model = [each + 100 * rng.gauss(0.01, 0.02) for each in reference]
    sums = [WindowSums(each, [100] * 60, "token", 6000) for each in (model, reference)]
    told = difference(*sums)
    assert told is not None and told.low is not None and told.high is not None
    mean = WindowMean.of([a - b for a, b in zip(model, reference, strict=True)], [100] * 60)
    rise = PerplexityRise(mean)
    base = sums[1].score
    assert rise.value == pytest.approx(told.value / base)
    assert rise.high - rise.low == pytest.approx((told.high - told.low) / base, rel=0.1)
    assert rise.p_above(rise.low) == pytest.approx(0.05)
    assert rise.p_below(rise.high) == pytest.approx(0.05)


def test_a_word_has_several_tokens() -> None:
    mean = WindowMean.of(drawn(20), [10] * 20)
    assert PerplexityRise(mean, units=0.5).value == pytest.approx(math.expm1(2 * mean.value))


def test_an_interval_of_a_report_decides_at_its_ends() -> None:
    told = ReportedInterval(0.01, 0.005, 0.02, 5000)
    assert told.p_above(0.005) == pytest.approx(0.05, abs=1e-3)
    assert told.p_below(0.02) == pytest.approx(0.05, abs=1e-3)
    assert ReportedInterval(0.0, 0.0, 0.0, 10).p_below(0.01) == 0.0
    wanted = told.needed(0.015)
    assert wanted is not None and wanted > 5000 and told.needed(0.01) is None
