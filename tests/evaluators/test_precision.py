"""Stopping early: intervals that hold what the whole text gives, and a word of what it took."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from qpipe.evaluators.kld import KldParams, measure
from qpipe.evaluators.text.distributions import KLD
from qpipe.evaluators.text.sampling import LEAST, WIDER, interval
from qpipe.evaluators.text.statistics import Interval, over_windows
from qpipe.llamacpp.backend import LlamaCppBackend
from tests.evaluators import measuring

_Array = npt.NDArray[np.float64]


def _stopped(
    values: _Array, known: _Array, order: npt.NDArray[np.int64], precision: float
) -> tuple[Interval, int]:
    """What `Kld` stops at, and after how many windows, for windows of one token each."""
    for count in range(LEAST, len(values), 2):
        found = over_windows(
            [values[i : i + 1] for i in order[:count]],
            available=len(values),
            covariate=[known[i : i + 1] for i in order[:count]],
            whole=float(known.mean()),
        )
        found = Interval(found.value, WIDER * found.half)
        if found.relative <= precision:
            return found, count
    return Interval(float(values.mean()), 0.0), len(values)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.12, 0.21])
@pytest.mark.parametrize("alike", [0.0, 0.5])
def test_intervals_cover_the_whole_in_nearly_all_orders(spread: float, alike: float) -> None:
    """Windows as skewed as those of stories260K: a log-normal of that relative spread; what is
    known of them is correlated as a reference's nll is, or not at all, and saves windows."""
    rng = np.random.default_rng(7)
    normal = rng.normal(size=(2, 182))
    values = np.exp(spread * normal[0])
    known = 3 + 0.3 * (alike * normal[0] + np.sqrt(1 - alike**2) * normal[1])
    stops = [_stopped(values, known, rng.permutation(182), 0.05) for _ in range(400)]
    found = [interval for interval, _ in stops]
    covered = np.mean([abs(f.value - values.mean()) <= f.half + 1e-12 for f in found])
    assert covered >= 0.93
    assert abs(np.mean([f.value for f in found]) / values.mean() - 1) < 0.01


def test_what_is_known_of_the_text_saves_windows() -> None:
    rng = np.random.default_rng(7)
    normal = rng.normal(size=(2, 182))
    values = np.exp(0.2 * normal[0])
    alike = 3 + 0.3 * (0.5 * normal[0] + np.sqrt(0.75) * normal[1])
    order = [rng.permutation(182) for _ in range(50)]
    with_it = np.mean([_stopped(values, alike, one, 0.05)[1] for one in order])
    without = np.mean([_stopped(values, np.ones(182), one, 0.05)[1] for one in order])
    assert with_it < 0.9 * without


def test_a_precise_kld_is_that_of_the_whole_text(
    gguf_of: Callable[[str, str], Path], tmp_path: Path
) -> None:
    stored = measuring.stories(gguf_of, tmp_path / "reference", chunks=200)
    with LlamaCppBackend(gguf_of("stories260K", "Q4_0"), threads=2) as backend:
        full = measure(backend, stored, KldParams()).values
        precise = measure(backend, stored, KldParams(precision=0.15))
        by_ppl = measure(backend, stored, KldParams(precision=0.5, precision_of="ppl")).values
    some = precise.values
    whole = float(np.concatenate(full)[:, KLD].mean())
    found = interval(some, stored, "kld")
    assert LEAST <= len(some) == precise.computed < 120
    assert found.relative <= 0.15
    assert abs(found.value - whole) <= found.half
    assert interval(full, stored, "kld").half == 0
    assert interval(by_ppl, stored, "ppl").relative <= 0.5


def test_what_a_precision_is_of_needs_one() -> None:
    with pytest.raises(ValueError, match="precision_of=ppl with precision=full: all windows"):
        KldParams(precision_of="ppl")
