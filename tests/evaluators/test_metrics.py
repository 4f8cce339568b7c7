"""Windows, log-probabilities and their mean, against cases worked out by hand."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from qpipe.errors import DataError
from qpipe.evaluators.metrics.backend import Block, Tokens
from qpipe.evaluators.metrics.scores import mean_nll, score, token_nll
from qpipe.evaluators.metrics.windows import cut
from qpipe.evaluators.perplexity import measure
from qpipe.evaluators.protocols import Protocol, protocol

BASE = protocol("llamacpp-512")


@dataclass
class Letters:
    """A backend over the letters a…: it gives the next letter of the alphabet odds of 27 to 1."""

    bos: int | None = 9
    n_vocab: int = 10
    n_ctx_train: int = 4
    name: str = "letters"
    version: str = "1"
    rows_per_block: int = 2
    poison: float = 0.0

    def tokenize(self, text: str) -> Tokens:
        return np.array([ord(char) - ord("a") for char in text], np.int32)

    def logits(self, windows: Tokens, *, first: int) -> Iterator[Block]:
        n_windows, n_ctx = windows.shape
        for window in range(n_windows):
            for start in range(first, n_ctx - 1, self.rows_per_block):
                tokens = windows[window, start : min(start + self.rows_per_block, n_ctx - 1)]
                logits = np.full((len(tokens), self.n_vocab), self.poison, np.float32)
                logits[np.arange(len(tokens)), (tokens + 1) % self.n_vocab] = math.log(27)
                yield window, start, logits


def _protocol(n_ctx: int, **changes: object) -> Protocol:
    return replace(BASE, n_ctx=n_ctx, **changes)  # type: ignore[arg-type]


def test_windows_replace_the_first_token_by_bos() -> None:
    windows = cut("abcdefgh", Letters(), _protocol(4))
    # BOS before the text makes nine tokens: two windows, and one token left over.
    assert windows.tokens.tolist() == [[9, 0, 1, 2], [9, 4, 5, 6]]
    assert (windows.available, windows.text_tokens, windows.first) == (2, 9, 2)
    assert windows.targets(1, 2, 1).tolist() == [6]
    assert windows.sha256 == hashlib.sha256(struct.pack("<8i", 9, 0, 1, 2, 9, 4, 5, 6)).hexdigest()


def test_without_a_bos_the_windows_are_text() -> None:
    windows = cut("abcdefgh", Letters(bos=None), _protocol(4))
    assert windows.tokens.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_bos_can_stand_before_whole_windows_of_text() -> None:
    changed = _protocol(4, bos="prepend", text_bos=False, scored="all")
    windows = cut("abcdefgh", Letters(), changed)
    assert windows.tokens.tolist() == [[9, 0, 1, 2], [9, 3, 4, 5]]
    assert windows.first == 0


def test_windows_may_overlap_and_be_limited() -> None:
    windows = cut("abcdefgh", Letters(bos=None), _protocol(4, stride=2, chunks=2))
    assert windows.tokens.tolist() == [[0, 1, 2, 3], [2, 3, 4, 5]]
    assert windows.available == 3


def test_one_final_newline_is_dropped() -> None:
    text = "abcd"
    assert (
        cut(text + "\n", Letters(), _protocol(4)).sha256
        == cut(text, Letters(), _protocol(4)).sha256
    )


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_text_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"is empty: give a text with evaluate\.text"):
        cut(text, Letters(), _protocol(4))


def test_a_text_shorter_than_a_window_is_refused_with_the_numbers() -> None:
    with pytest.raises(DataError, match=r"has 3 tokens.*n_ctx=4 needs 4.*evaluate\.n_ctx to 3"):
        cut("ab", Letters(), _protocol(4))


def test_token_nll_by_hand() -> None:
    # Odds 1:2:5 → the probabilities are eighths.
    logits = np.log(np.array([[1, 2, 5], [5, 2, 1]], np.float32))
    found = token_nll(logits, np.array([2, 1], np.int32))
    np.testing.assert_allclose(found, [math.log(8 / 5), math.log(4)], rtol=1e-6)
    assert found.dtype == np.float64


def test_token_nll_survives_large_logits_and_many_words() -> None:
    logits = np.zeros((3, 200_000), np.float32)
    logits[:, 7] = [1e4, -1e4, 0]
    found = token_nll(logits, np.array([7, 0, 7], np.int32))
    np.testing.assert_allclose(found, [0, math.log(199_999), math.log(200_000)], rtol=1e-6)


def test_mean_and_error_by_hand() -> None:
    # Mean 3, mean square 10, so variance 1 (over n) and error sqrt(1 / 3).
    found = mean_nll(np.array([2.0, 2.0, 4.0, 4.0]))
    assert (found.mean, found.count) == (3.0, 4)
    assert found.stderr == pytest.approx(math.sqrt(1 / 3))
    assert found.ppl == pytest.approx(math.exp(3))
    assert found.ppl_stderr == pytest.approx(math.exp(3) / math.sqrt(3))


def test_one_token_has_no_error_estimate() -> None:
    assert math.isnan(mean_nll(np.array([2.0])).stderr)


def test_only_the_second_half_is_scored() -> None:
    # The odds of the next letter are 27 to 1 for each of nine others: 27/36, any other 1/36.
    seen: list[tuple[int, int]] = []
    text = "bcdefga" * 2
    result = measure(
        Letters(bos=None, n_ctx_train=8),
        text,
        protocol=_protocol(7),
        progress=lambda done, total: seen.append((done, total)),
    )
    # Windows b c d e f g a: the logits at 3, 4, 5 predict e→f, f→g, g→a.
    nll = [math.log(36 / 27), math.log(36 / 27), math.log(36)]
    assert result.nll == pytest.approx(np.mean(nll))
    assert result.ppl == pytest.approx(math.exp(np.mean(nll)))
    assert (result.tokens_scored, result.tokens, result.chunks) == (6, 14, 2)
    assert (result.protocol, result.backend, result.notes) == (
        "llamacpp-512 n_ctx=7",
        "letters",
        (),
    )
    assert seen[-1] == (14, 14)
    assert seen == sorted(seen)


def test_the_size_of_blocks_changes_nothing() -> None:
    text = "abcdefghihgfedcba"
    one, many = (
        measure(Letters(rows_per_block=size), text, protocol=_protocol(8)).nll for size in (1, 99)
    )
    assert one == many


def test_windows_beyond_the_trained_context_are_noted() -> None:
    result = measure(Letters(n_ctx_train=4), "abcdefgh", protocol=_protocol(8))
    assert "exceed the 4" in result.notes[0]


def test_nan_logits_are_refused_with_their_place() -> None:
    windows = cut("abcdefgh", Letters(), _protocol(8))
    with pytest.raises(
        DataError, match="letters gave 9 NaN of 10 logits at position 4 of window 0"
    ):
        list(score(Letters(poison=math.nan), windows))


def test_probability_zero_is_refused() -> None:
    windows = cut("aaaaaaaa", Letters(), _protocol(8))
    with pytest.raises(DataError, match="infinite logits"):
        list(score(Letters(poison=-math.inf), windows))
