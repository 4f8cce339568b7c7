"""Stopping early: intervals that hold what the whole text gives, and a word of what it took."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from qpipe.evaluators.kld import KldParams, measure
from qpipe.evaluators.metrics.distributions import KLD
from qpipe.evaluators.metrics.statistics import Interval, over_windows
from qpipe.evaluators.stopping import LEAST, WIDER, interval
from qpipe.llamacpp.backend import LlamaCppBackend
from tests.evaluators import measuring


def _stopped(
    values: npt.NDArray[np.float64], order: npt.NDArray[np.int64], precision: float
) -> Interval:
    """What `Kld` stops at, for windows of one token each."""
    for count in range(LEAST, len(values) + 1, 4):
        found = over_windows([values[i : i + 1] for i in order[:count]], available=len(values))
        found = Interval(found.value, WIDER * found.half)
        if found.relative <= precision:
            return found
    return Interval(float(values.mean()), 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.12, 0.21])
def test_intervals_cover_the_whole_in_nearly_all_orders(spread: float) -> None:
    """Windows as skewed as those of stories260K: a log-normal of that relative spread."""
    rng = np.random.default_rng(7)
    values = rng.lognormal(0, spread, 182)
    found = [_stopped(values, rng.permutation(182), 0.05) for _ in range(400)]
    covered = np.mean([abs(f.value - values.mean()) <= f.half + 1e-12 for f in found])
    assert covered >= 0.93
    assert abs(np.mean([f.value for f in found]) / values.mean() - 1) < 0.01


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
