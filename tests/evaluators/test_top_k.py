"""Stored distributions of the likeliest tokens: bounds by hand, and round what all tokens give."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from qpipe.errors import RecipeError
from qpipe.evaluators.kld import Kld, KldParams, measure
from qpipe.evaluators.logprobs import Logprobs, LogprobsParams
from qpipe.evaluators.text.distributions import KLD, KLD_AT_MOST, SAME_TOP, Top
from qpipe.evaluators.text.reference import form_of
from qpipe.llamacpp.backend import LlamaCppBackend
from qpipe.stages.base import Order, Work
from tests.evaluators import measuring

Gguf = Callable[[str, str], Path]
DATA = Path(__file__).parent.parent / "data"
LN2 = math.log(2)
# What 16 bits a log-probability may cost a divergence of this size.
ROUNDING = 2.5e-4


def _log(*odds: float) -> npt.NDArray[np.float32]:
    return np.log(np.array([odds], np.float32))


def _bounds(
    p: npt.NDArray[np.float32], q: npt.NDArray[np.float32], k: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    form = Top(p.shape[1], k)
    found = form.divergence(q, form.encode(p), np.zeros(len(p), np.int32))
    return found[:, 1], found[:, 3]


def _exact(p: npt.NDArray[np.float32], q: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    log_p, log_q = (
        x.astype(np.float64) - np.log(np.exp(x.astype(np.float64)).sum(axis=1))[:, None]
        for x in (p, q)
    )
    return np.asarray((np.exp(log_p) * (log_p - log_q)).sum(axis=1))


@pytest.mark.parametrize(
    ("p", "q", "k", "least", "most"),
    [
        # The rest is 1/2, all of which the least likely token, 1/8, may have.
        ((1, 1, 2, 4), (4, 2, 1, 1), 1, LN2 + math.log(4 / 7) / 2, 1.25 * LN2),
        # The rest is 1/4: the model's are 1/2 and 1/4, and the second may have it all.
        ((1, 1, 2, 4), (4, 2, 1, 1), 2, 1.25 * LN2 - math.log(3) / 4, LN2),
        # The rest is 5/9, of which one token has 4/9 at most: the next has 1/9.
        (
            (4, 3, 2),
            (1, 2, 1),
            1,
            4 / 9 * math.log(16 / 9) + 5 / 9 * math.log(20 / 27),
            4 / 9 * math.log(16 / 9) + math.log(1 / 3) / 3 + 2 / 9 * math.log(2 / 9) + LN2,
        ),
    ],
)
def test_bounds_by_hand(
    p: tuple[float, ...], q: tuple[float, ...], k: int, least: float, most: float
) -> None:
    (low,), (high,) = _bounds(_log(*p), _log(*q), k)
    assert low == pytest.approx(least, abs=ROUNDING)
    assert high == pytest.approx(most, abs=ROUNDING)
    assert low < _exact(_log(*p), _log(*q))[0] < high


def test_what_is_stored_by_hand() -> None:
    (row,) = Top(4, 2).encode(_log(1, 1, 2, 4))
    assert row["tokens"].tolist() == [3, 2]
    assert row["top"] == pytest.approx(-LN2)
    assert row["codes"].tolist() == [0, round(LN2 * 65535 / 16)]
    assert row["rest"] == pytest.approx(1 / 4)
    assert row["rest_plogp"] == pytest.approx(-0.75 * LN2)


def test_the_improbable_is_of_the_rest() -> None:
    """The second token has e^-20: its log-probability is not stored, its sums are."""
    (row,) = Top(4, 2).encode(np.array([[0, -20, -30, -30]], np.float32))
    assert row["codes"].tolist() == [0, 65535]
    assert row["rest"] == pytest.approx(math.exp(-20), rel=1e-3)
    assert row["rest_plogp"] == pytest.approx(-20 * math.exp(-20), rel=1e-2)


@pytest.mark.parametrize("spread", [0.5, 3, 12])
@pytest.mark.parametrize("k", [1, 7, 60])
def test_bounds_hold_whatever_the_distributions(spread: float, k: int) -> None:
    rng = np.random.default_rng(k)
    p = rng.normal(0, spread, (40, 200)).astype(np.float32)
    for near in (0.05, 1, spread):
        q = (p + rng.normal(0, near, p.shape)).astype(np.float32)
        low, high = _bounds(p, q, k)
        exact = _exact(p, q)
        assert (low <= exact + ROUNDING * (1 + exact)).all()
        assert (high >= exact - ROUNDING * (1 + exact)).all()


def test_a_level_is_within_what_is_stated(gguf_of: Gguf, tmp_path: Path) -> None:
    found = {}
    for top_k in (None, 64):
        stored = measuring.stories(gguf_of, tmp_path / str(top_k), chunks=12, top_k=top_k)
        size = (stored.folder / "distributions.bin").stat().st_size
        assert size == 12 * 31 * (8 + 2 * 512 if top_k is None else 12 + 4 * top_k)
        with LlamaCppBackend(gguf_of("stories260K", "Q4_0"), threads=2) as backend:
            found[top_k] = np.concatenate(measure(backend, stored, KldParams()).values)
    full, top = found[None], found[64]
    slack = ROUNDING * (1 + full[:, KLD])
    assert (top[:, KLD] <= full[:, KLD] + slack).all()
    assert (top[:, KLD_AT_MOST] >= full[:, KLD] - slack).all()
    assert top[:, KLD].mean() > 0.97 * full[:, KLD].mean()
    assert top[:, KLD].mean() <= full[:, KLD].mean() + 1e-5
    assert (top[:, SAME_TOP] == full[:, SAME_TOP]).all()
    assert np.array_equal(top[:, :2], full[:, :2])  # nll and reference_nll


def test_the_size_is_forecast(gguf_of: Gguf, tmp_path: Path) -> None:
    stored = measuring.stories(gguf_of, tmp_path / "reference", chunks=2, top_k=32)
    stored.tokenized.save(tmp_path)
    model = DATA / "models" / "stories260K"
    found = Logprobs.preview(LogprobsParams(top_k=32), Order({"model": model, "tokens": tmp_path}))
    assert found is not None
    assert not found.at_most
    assert found.facts["size_bytes"] == (stored.folder / "distributions.bin").stat().st_size


def test_the_result_states_the_bound(gguf_of: Gguf, tmp_path: Path) -> None:
    stored = measuring.stories(gguf_of, tmp_path / "reference", chunks=2, top_k=32)
    for made in ("tokens", "model", "out"):
        (tmp_path / made).mkdir()
    stored.tokenized.save(tmp_path / "tokens")
    (tmp_path / "model" / "model.gguf").symlink_to(gguf_of("stories260K", "Q4_0"))
    inputs = {role: tmp_path / role for role in ("model", "tokens", "reference")}
    found = Kld().run(KldParams(), Work(inputs, tmp_path / "out", 2, lambda *told: None, {}))
    assert found.protocol == "llamacpp-512 n_ctx=64 chunks=2 top_k=32"
    assert found.protocol == stored.about["protocol"]
    scores = measuring.named(found.scores)
    low, high = scores["kld"], scores["kld_at_most"]
    assert 0 < low < high
    assert found.notes
    assert found.notes[-1].endswith(f"with all of them it is from {low:.4g} to {high:.4g}")


def test_one_that_saves_nothing_is_refused() -> None:
    assert form_of(70_000, 10_000).row_type.itemsize == 12 + 6 * 10_000
    with pytest.raises(
        RecipeError, match="top_k: the 300 likeliest of 512 tokens take 1,212 bytes"
    ):
        form_of(512, 300)
