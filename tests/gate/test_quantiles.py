"""Distributions against tables and against sums that need no trick."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpipe.gate.quantiles import (
    binomial_at_least,
    incomplete_beta,
    share_at_most,
    student_cdf,
    student_quantile,
)


@pytest.mark.parametrize(
    ("p", "freedom", "value"),
    [  # Abramowitz and Stegun, table 26.10
        *((0.975, 1, 12.706), (0.975, 2, 4.303), (0.975, 4, 2.776), (0.975, 10, 2.228)),
        *((0.95, 30, 1.697), (0.95, 60, 1.671), (0.995, 7, 3.499), (0.9995, 5, 6.869)),
    ],
)
def test_students_t_is_that_of_tables(p: float, freedom: int, value: float) -> None:
    assert student_quantile(p, freedom) == pytest.approx(value, abs=6e-4)
    assert student_quantile(1 - p, freedom) == pytest.approx(-value, abs=6e-4)
    assert student_cdf(student_quantile(p, freedom), freedom) == pytest.approx(p, abs=1e-9)


def test_the_ends_of_students_t() -> None:
    assert (student_cdf(-math.inf, 3), student_cdf(math.inf, 3)) == (0.0, 1.0)
    assert student_cdf(0.0, 3) == pytest.approx(0.5)


@given(n=st.integers(1, 200), k=st.integers(0, 201), p=st.floats(0.001, 0.999))
def test_the_binomial_is_its_sum(n: int, k: int, p: float) -> None:
    sums = math.fsum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))
    assert binomial_at_least(k, n, p) == pytest.approx(sums, abs=1e-10)


def test_the_ends_of_the_beta_function() -> None:
    assert (incomplete_beta(2, 3, 0.0), incomplete_beta(2, 3, 1.0)) == (0.0, 1.0)
    assert incomplete_beta(2, 3, 0.5) == pytest.approx(11 / 16)


def test_a_share_that_was_never_seen() -> None:
    """The rule of three: of 299 without one, 1 % is ruled out with 95 % confidence."""
    assert share_at_most(0, 299, 0.05) == pytest.approx(1 - 0.05 ** (1 / 299))
    assert share_at_most(0, 298, 0.05) > 0.01 > share_at_most(0, 299, 0.05)
    assert share_at_most(5, 5, 0.05) == 1.0
    # Clopper and Pearson of 7 in 100, 97.5 %.
    assert share_at_most(7, 100, 0.025) == pytest.approx(0.1389, abs=1e-4)
