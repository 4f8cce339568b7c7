"""Levels that end early: how often one that is no worse does, and what one that is worse says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from qpipe.evaluators.kld import KldParams, WindowValues, measure, scores_of
from qpipe.evaluators.text import rivals
from qpipe.evaluators.text.distributions import KLD
from qpipe.evaluators.text.reference import Reference
from qpipe.evaluators.text.rivals import MeasuredLevel
from qpipe.evaluators.text.sampling import LEAST, MISTAKEN, StoppingRule, looks
from qpipe.llamacpp.backend import LlamaCppBackend
from tests.evaluators import measuring

Floats = npt.NDArray[np.float64]


def _level(
    sums: Floats, *, kld: float = 1.0, size: int = 100, name: str = "Q3_K_M"
) -> MeasuredLevel:
    return MeasuredLevel(f"digest of {name}", name, size, kld, np.stack([sums, sums], axis=1))


def _stops(ours: Floats, theirs: Floats, order: npt.NDArray[np.int64], stored: Reference) -> bool:
    """Whether windows of one token each end at any look before they are all taken."""
    enough = StoppingRule(stored, [int(i) for i in order], rival=_level(theirs))
    found = [np.full((1, KLD + 1), ours[i]) for i in order]
    return any(enough(found[:count]) for count in looks(len(found)))


@pytest.fixture
def anything(tmp_path: Path) -> Reference:
    """Comparing levels asks nothing of the reference."""
    return Reference(tmp_path, None)  # type: ignore[arg-type]


def test_looks_are_few_and_end_before_the_last_window() -> None:
    assert looks(16) == []
    assert looks(30) == [16, 20, 25]
    found = looks(100_000)
    assert found[0] == LEAST
    assert len(found) == 40
    assert found == sorted(set(found))


@pytest.mark.slow
@pytest.mark.parametrize(("ours", "theirs"), [(0.1, 0.1), (0.4, 0.1), (0.1, 0.4), (0.3, 0.6)])
def test_a_level_that_is_no_worse_is_hardly_ever_stopped(
    ours: float, theirs: float, anything: Reference
) -> None:
    """Two levels of equal KL divergence on the whole text, in 400 orders of its windows: each
    log-normal of that spread about what they have in common."""
    rng = np.random.default_rng(11)
    common = rng.lognormal(0, 0.4, 200)
    level, rival = common * rng.lognormal(0, ours, 200), common * rng.lognormal(0, theirs, 200)
    rival *= level.mean() / rival.mean()
    stopped = [_stops(level, rival, rng.permutation(200), anything) for _ in range(400)]
    assert np.mean(stopped) <= MISTAKEN


def test_a_level_that_is_clearly_worse_is_stopped(anything: Reference) -> None:
    rng = np.random.default_rng(5)
    theirs = rng.lognormal(0, 0.2, 300)
    ours = theirs * rng.lognormal(0.2, 0.1, 300)
    order = rng.permutation(300)
    enough = StoppingRule(anything, [int(i) for i in order], rival=_level(theirs))
    found = [np.full((1, KLD + 1), ours[i]) for i in order]
    assert not enough(found[: LEAST - 1])
    ended = enough.dominated(found[:LEAST])
    assert ended is not None
    assert ended.windows == LEAST
    assert ended.difference == pytest.approx((ours - theirs)[order[:LEAST]].mean())
    assert 0 < ended.at_least < ours.mean() - theirs.mean()
    assert not enough(found), "all windows are there: nothing is cut short"


def test_only_windows_that_both_have_are_compared(anything: Reference) -> None:
    rng = np.random.default_rng(5)
    theirs = rng.lognormal(0, 0.2, 300)
    order = [int(i) for i in rng.permutation(300)]
    found = [np.full((1, KLD + 1), 2 * theirs[i]) for i in order]
    theirs[order[LEAST - 1 :]] = np.nan
    assert StoppingRule(anything, order, rival=_level(theirs)).dominated(found[:200]) is None
    theirs[order[LEAST - 1]] = 1.0
    ended = StoppingRule(anything, order, rival=_level(theirs)).dominated(found[:200])
    assert ended is not None
    assert ended.windows == LEAST


def test_the_rival_is_the_best_of_those_that_are_no_larger() -> None:
    sums = np.ones(4)
    every = [
        _level(sums, kld=kld, size=size, name=name)
        for name, kld, size in (
            ("Q4_K_M", 0.02, 300), ("Q2_K", 0.5, 100), ("Q4_1", 0.07, 250), ("Q3_K_M", 0.06, 200),
        )
    ]  # fmt: skip
    kept = rivals.unbeaten(every)
    assert [level.format for level in kept] == ["Q2_K", "Q3_K_M", "Q4_K_M"]

    def rival(size: int) -> str | None:
        found = rivals.best(kept, size=size)
        return None if found is None else found.format

    assert [rival(size) for size in (99, 100, 299, 300)] == [None, "Q2_K", "Q3_K_M", "Q4_K_M"]


def test_levels_are_read_as_they_were_written(tmp_path: Path) -> None:
    one = _level(np.array([1.0, np.nan, 3.0]))
    rivals.save(tmp_path, [one])
    (again,) = rivals.load(tmp_path)
    assert again.about == one.about
    assert np.array_equal(again.sums, one.sums, equal_nan=True)
    rivals.save(tmp_path, [])
    assert rivals.load(tmp_path) == []


def _kld(measured: WindowValues, stored: Reference) -> float:
    return measuring.named(scores_of(measured.values, stored))["kld"]


def _as_level(measured: WindowValues, folder: Path, stored: Reference) -> MeasuredLevel:
    measured.save_sums(folder)
    kld = _kld(measured, stored)
    return MeasuredLevel("digest", "Q4_0", 1, kld, np.load(folder / rivals.SUMS))


def test_a_real_level_is_compared_in_pairs(
    gguf_of: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """Q8_0 as the rival of Q4_0, and the other way about."""
    stored = measuring.stories(gguf_of, tmp_path / "reference", chunks=200)
    with LlamaCppBackend(gguf_of("stories260K", "Q8_0"), threads=2) as backend:
        better = measure(backend, stored, KldParams())
    with LlamaCppBackend(gguf_of("stories260K", "Q4_0"), threads=2) as backend:
        whole = measure(backend, stored, KldParams())
        cut = measure(backend, stored, KldParams(), rival=_as_level(better, tmp_path, stored))
        precise = measure(
            backend,
            stored,
            KldParams(precision=0.5),
            rival=_as_level(better, tmp_path, stored),
        )
    with LlamaCppBackend(gguf_of("stories260K", "Q8_0"), threads=2) as backend:
        unbeaten = measure(backend, stored, KldParams(), rival=_as_level(whole, tmp_path, stored))
    assert LEAST <= len(cut.values) < 60
    by = cut.extent["dominated_by"]
    assert isinstance(by, dict)
    difference = _kld(whole, stored) - _kld(better, stored)
    assert by["format"] == "Q4_0"
    assert 0 < by["difference_at_least"] < difference
    ends = cut.extent["interval"]
    assert isinstance(ends, list)
    assert ends[0] < _kld(whole, stored) < ends[1]
    # What was measured of a window is the same in any order, and so is a level that ran on.
    known = dict(zip(whole.windows, whole.values, strict=True))
    for window, values in zip(cut.windows, cut.values, strict=True):
        assert np.array_equal(values, known[window])
    assert unbeaten.extent == {}
    assert scores_of(unbeaten.values, stored) == scores_of(better.values, stored)
    # As precise as was asked for: no estimate that was cut short.
    assert "dominated_by" not in precise.extent
    assert "enough for kld" in str(precise.extent["sampling"])
