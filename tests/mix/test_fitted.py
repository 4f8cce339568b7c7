"""A divergence that is held on the file: what is tried, and which file is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpipe.errors import RecipeError
from qpipe.mix.budget import Budget, FormCost, MixChoice, Surroundings
from qpipe.mix.fitted import FittedMix, fit
from qpipe.mix.target import MixTarget

GROUPS = {
    f"t{at}": {
        f"{bits}": FormCost(1000 * bits, 1000 * bits, (at + 1) * 4.0**-bits)
        for bits in (2, 3, 4, 5, 6)
    }
    for at in range(12)
}


def budget() -> Budget:
    around = Surroundings(100, {}, 12 * 8000)
    return Budget(GROUPS, around, lambda expected: (expected, expected / 10))


@pytest.mark.parametrize("more", [0.7, 1.0, 1.9])
def test_the_smallest_file_that_keeps_it(more: float) -> None:
    """Files have ``more`` than is expected of them."""
    measured: list[MixChoice] = []

    def measure(choice: MixChoice) -> tuple[float, float]:
        measured.append(choice)
        return choice.kld * more, choice.kld * more / 20

    fitted = fit(budget(), 0.1, measure, most=8)
    assert fitted.kld + fitted.half <= 0.1
    assert len(measured) == len(fitted.tries) <= 8
    taken = budget().of_forms(fitted.forms)
    # Exactly known here: what keeps the bound, and no smaller file would.
    best = budget().smallest_within(0.1 / (more * 1.05) * 1.1)
    assert taken.file_bytes <= best.file_bytes * 1.02
    mix = fitted.within(MixTarget(kld=0.1), _typed(budget(), fitted))
    assert mix.choice.measured
    assert "in the file, on calibration text" in mix.note(MixTarget(kld=0.1))


def _typed(of: Budget, fitted: FittedMix) -> Budget:
    names = {"2": "Q2_K", "3": "Q3_K", "4": "Q4_K", "5": "Q5_K", "6": "Q6_K"}
    groups = {
        name: {names[bits]: form for bits, form in group.items()} for name, group in GROUPS.items()
    }
    for name, bits in fitted.forms.items():
        fitted.forms[name] = names[bits]  # type: ignore[index]
    return Budget(groups, of.around, of.whole)


def test_a_file_whose_interval_straddles_the_bound_is_not_taken() -> None:
    def measure(choice: MixChoice) -> tuple[float, float]:
        return choice.kld, choice.kld / 2  # a wide interval

    fitted = fit(budget(), 0.1, measure, most=8)
    assert fitted.kld + fitted.half <= 0.1
    assert fitted.kld < 0.07


def test_outside_both_ends_are_named() -> None:
    for bound in (1e-9, 50.0):
        with pytest.raises(RecipeError) as refused:
            fit(budget(), bound, lambda choice: (choice.kld, choice.kld / 10), most=6)
        for size in (24_100, 72_100):
            assert f"{size:,} bytes" in str(refused.value)
        assert f"kld {bound:g}" in str(refused.value)


def test_what_was_fitted_comes_back_and_other_bounds_hold(tmp_path: Path) -> None:
    fitted = fit(budget(), 0.1, lambda choice: (choice.kld, choice.kld / 20), most=6)
    fitted.save(tmp_path)
    assert FittedMix.load(tmp_path) == fitted
    size = budget().of_forms(fitted.forms).file_bytes
    with pytest.raises(RecipeError, match=rf"contradict each other: kld 0.1 takes {size:,} bytes"):
        fitted.within(MixTarget(kld=0.1, size=size - 1), budget())
