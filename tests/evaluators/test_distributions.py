"""Stored distributions and divergences from them, against cases worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from qpipe.evaluators.kld import scores_of
from qpipe.evaluators.text.description import sums_of
from qpipe.evaluators.text.distributions import (
    KLD,
    Form,
    Full,
    Top,
    divergence,
    encode,
    row_type,
)
from qpipe.evaluators.text.histogram import distribution
from qpipe.evaluators.text.reference import Reference
from qpipe.evaluators.text.windows import About, Tokenized, Windows
from qpipe.results.windows import difference
from tests.evaluators.measuring import named


def _log(*odds: float) -> npt.NDArray[np.float32]:
    return np.log(np.array([odds], np.float32))


def test_a_logit_takes_two_bytes_and_a_token_eight() -> None:
    assert row_type(1000).itemsize == 2008


def test_what_is_stored_is_within_half_a_step() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (50, 400)).astype(np.float32)
    rows = encode(logits)
    exact = logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))
    stored = rows["codes"] * rows["scale"][:, None] + rows["low"][:, None]
    kept = logits > logits.max(axis=1, keepdims=True) - 16
    assert kept.mean() > 0.9
    assert np.abs(stored - exact)[kept].max() < 16 / 65535 / 2 + 1e-5
    # Below e^-16 of the likeliest, all are stored as just that.
    assert np.abs((stored - exact.max(axis=1, keepdims=True))[~kept] + 16).max() < 1e-3


def test_equal_logits_are_stored_too() -> None:
    rows = encode(np.full((1, 8), 3.0, np.float32))
    assert rows["scale"][0] == 0
    assert rows["low"][0] == pytest.approx(-math.log(8))


def test_divergence_by_hand() -> None:
    # P = (1, 1, 2)/4 against Q = (2, 1, 1)/4: KL = 1/4 ln(1/2) + 0 + 1/2 ln 2 = 1/4 ln 2.
    nll, kld, same = divergence(_log(2, 1, 1), encode(_log(1, 1, 2)), np.array([0], np.int32))
    assert nll[0] == pytest.approx(math.log(2))
    assert kld[0] == pytest.approx(math.log(2) / 4, abs=2e-4)
    assert same[0] == 0
    _, kld, same = divergence(_log(1, 1, 2), encode(_log(1, 1, 2)), np.array([0], np.int32))
    assert kld[0] == pytest.approx(0, abs=2e-4)
    assert same[0] == 1


def test_the_improbable_is_left_out() -> None:
    # The second token has e^-20 in P: stored as e^-16, and not counted.
    p = np.array([[0, -20]], np.float32)
    _, kld, _ = divergence(np.array([[0, -300]], np.float32), encode(p), np.array([0], np.int32))
    assert kld[0] == pytest.approx(0, abs=1e-6)


def test_all_scores_by_hand(tmp_path: Path) -> None:
    """Two tokens: the reference gives them 1/2 and 1/4, the model 1/4 and 1/4."""
    values = np.array(
        [
            # nll, the reference's, kld, same top
            [math.log(4), math.log(2), 0.2, 1.0],
            [math.log(4), math.log(4), 0.4, 0.0],
        ]
    )
    windows = Windows(np.zeros((1, 3), np.int32), np.array([[0, 2]], np.int32), 1, 3)
    about = About("t", "p", 1, "token", None, 3, 1, 3, windows.sha256)
    stored = Reference(tmp_path, Tokenized(windows, about))
    np.save(tmp_path / "nll.npy", values[:, 1])
    found = named(scores_of([values], stored))
    assert found["kld"] == pytest.approx(0.3)
    assert found["kld_stderr"] == pytest.approx(0.1)  # variance 0.01 over n, by n - 1 = 1
    assert found["kld_median"] == pytest.approx(0.3)
    assert found["kld_p99"] == pytest.approx(0.2 + 0.99 * 0.2)
    assert found["kld_max"] == 0.4
    assert found["same_top_pct"] == 50
    assert found["same_top_pct_stderr"] == pytest.approx(50)
    # Δp is -1/4 and 0: rms sqrt(1/32).
    assert found["rms_dp_pct"] == pytest.approx(100 * math.sqrt(1 / 32))
    # Squares 1/16 and 0: error 1/32, halved over the root.
    assert found["rms_dp_pct_stderr"] == pytest.approx(100 / 32 / (2 * math.sqrt(1 / 32)))
    assert found["ppl"] == pytest.approx(4)
    assert found["ppl_delta"] == pytest.approx(4 - math.sqrt(8))
    # 4·ln 4 - √8·ln 2 and 4·ln 4 - √8·ln 4: half their difference.
    assert found["ppl_delta_stderr"] == pytest.approx(math.sqrt(8) * math.log(2) / 2)
    assert values[:, KLD].tolist() == [0.2, 0.4]


def test_the_difference_in_perplexity_has_an_interval_over_windows(tmp_path: Path) -> None:
    """The same as two perplexities measured apart get, and told from the tokens' own error."""
    rng = np.random.default_rng(0)
    counts = [31, 31, 20, 31]
    parts = []
    for count in counts:
        theirs = rng.gamma(2.0, 1.0, count)
        nll = theirs + rng.normal(0.05, 0.1) + rng.normal(0, 0.01, count)
        parts.append(np.stack([nll, theirs, np.full(count, 0.1), np.ones(count)], axis=1))
    spans = np.array([[0, count] for count in counts], np.int32)
    windows = Windows(np.zeros((4, 32), np.int32), spans, 4, 128)
    tokenized = Tokenized(windows, About("t", "p", 1, "token", None, 32, 4, 128, windows.sha256))
    stored = Reference(tmp_path, tokenized)
    every = np.concatenate(parts)
    np.save(tmp_path / "nll.npy", every[:, 1])
    found = {score.name: score for score in scores_of(parts, stored)}["ppl"].delta
    apart = difference(sums_of(tokenized, every[:, 0]), sums_of(tokenized, every[:, 1]))
    assert found is not None and apart is not None
    assert found.value == pytest.approx(apart.value)
    assert (found.low, found.high) == pytest.approx((apart.low, apart.high))
    # Windows are worse or better as a whole: tokens alone would be far too sure.
    assert found.stderr is not None and found.high is not None
    assert found.high - found.value > 3 * 1.96 * found.stderr


def test_how_divergence_is_spread() -> None:
    kld = np.array([0.0, 1e-7, 0.05, 0.05, 2.0, 100.0])
    same = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    spread = distribution(kld, same, np.array([1.0 + 1e-7, 0.995, 0.19, 0.1, 0.2, 0.5]))
    assert sum(spread.counts) == len(kld)
    assert spread.counts[0] == 2 and spread.counts[-1] == 1
    place = sum(edge <= 0.05 for edge in spread.edges)
    assert spread.counts[place] == 2
    buckets = {(each.low, each.high): each for each in spread.by_confidence}
    assert buckets[0.0, 0.2].tokens == 2 and buckets[0.0, 0.2].same_top_pct == 50
    assert buckets[0.99, 1.0].mean == pytest.approx(5e-8)
    mean = sum(each.mean * each.tokens for each in spread.by_confidence) / len(kld)
    assert mean == pytest.approx(kld.mean())


@pytest.mark.parametrize("form", [Full(100), Top(100, 20)])
def test_confidence_is_the_likeliest_tokens_probability(form: Form) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (50, 100)).astype(np.float32)
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(form.confidence(form.encode(logits)), p.max(axis=1), rtol=1e-3)
