"""Windows, log-probabilities and their mean, against cases worked out by hand."""

from __future__ import annotations

import hashlib
import math
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from qpipe.errors import DataError
from qpipe.evaluators.perplexity import TimedNll, measure
from qpipe.evaluators.text.description import about, scores_of
from qpipe.evaluators.text.interfaces import Block, Tokens
from qpipe.evaluators.text.protocols import Protocol, protocol
from qpipe.evaluators.text.token_scores import GroupFiles, NllScorer, WindowPass, token_nll
from qpipe.evaluators.text.windows import Tokenized, cut, tokenize

BASE = protocol("llamacpp-512")


@dataclass
class Letters:
    """A backend over the letters a…: it gives the next letter of the alphabet odds of 27 to 1."""

    bos: int | None = 9
    n_vocab: int = 10
    n_ctx_train: int = 4
    name: str = "letters"
    version: str = "1"
    remarks: tuple[str, ...] = ()
    arithmetic: None = None
    rows_per_block: int = 2
    poison: float = 0.0
    prefix: int = 9
    at_once: int = 1
    n_lanes: int = 1

    def tokenize(self, text: str) -> Tokens:
        return np.array([ord(char) - ord("a") for char in text], np.int32)

    def together(self, width: int, rows: int) -> int:
        return self.at_once

    def lanes(self, width: int, rows: int, *, most: int) -> list[Letters]:
        return [replace(self) for _ in range(min(self.n_lanes, most))]

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
    assert windows.spans.tolist() == [[2, 3], [2, 3]]
    assert windows.targets(1).tolist() == [6]
    packed = struct.pack("<12i", 9, 0, 1, 2, 9, 4, 5, 6, 2, 3, 2, 3)
    assert windows.sha256 == hashlib.sha256(packed).hexdigest()


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


def test_only_the_second_half_is_scored() -> None:
    # The odds of the next letter are 27 to 1 for each of nine others: 27/36, any other 1/36.
    seen: list[tuple[int, int]] = []
    text = "bcdefga" * 2
    backend = Letters(bos=None, n_ctx_train=8)
    tokenized = tokenize(text, backend, _protocol(7), name="letters.txt")
    result = measure(backend, tokenized, progress=lambda done, total: seen.append((done, total)))
    # Windows b c d e f g a: the logits at 3, 4, 5 predict e→f, f→g, g→a.
    nll = [math.log(36 / 27), math.log(36 / 27), math.log(36)]
    assert result.nll.tolist() == pytest.approx(nll + nll)
    assert scores_of(tokenized, result.nll).value == pytest.approx(math.exp(np.mean(nll)))
    described = about(tokenized, backend)
    assert (described["tokens_scored"], described["tokens"], described["chunks"]) == (6, 14, 2)
    assert (described["protocol"], described["backend"], described["notes"]) == (
        "llamacpp-512 n_ctx=7",
        "letters 1",
        [],
    )
    assert seen[-1] == (14, 14)
    assert seen == sorted(seen)


def _measured(backend: Letters, text: str, protocol: Protocol) -> tuple[Tokenized, TimedNll]:
    tokenized = tokenize(text, backend, protocol, name="")
    return tokenized, measure(backend, tokenized)


@pytest.mark.parametrize(
    "backend", [Letters(rows_per_block=99), Letters(at_once=2), Letters(n_lanes=3)]
)
def test_the_size_of_blocks_and_groups_and_lanes_changes_nothing(backend: Letters) -> None:
    text = "abcdefghihgfedcbaabcdefg"
    _, one = _measured(Letters(rows_per_block=1), text, _protocol(8))
    _, other = _measured(backend, text, _protocol(8))
    assert one.nll.tolist() == other.nll.tolist()


def test_windows_beyond_the_trained_context_are_noted() -> None:
    backend = Letters(n_ctx_train=4)
    tokenized, _ = _measured(backend, "abcdefgh", _protocol(8))
    assert "exceed the 4" in str(about(tokenized, backend)["notes"])


def test_nan_logits_are_refused_with_their_place() -> None:
    with pytest.raises(
        DataError, match="letters gave 9 NaN of 10 logits at position 4 of window 0"
    ):
        _measured(Letters(poison=math.nan), "abcdefgh", _protocol(8))


def test_probability_zero_is_refused() -> None:
    with pytest.raises(DataError, match="infinite logits"):
        _measured(Letters(poison=-math.inf), "aaaaaaaa", _protocol(8))


def test_tokens_of_another_vocabulary_are_refused() -> None:
    tokenized = tokenize("abcdefghi", Letters(), _protocol(8), name="")
    with pytest.raises(DataError, match=r"another model: its token ids go from 0 to 9, .* of 9;"):
        measure(Letters(n_vocab=9), tokenized)


def test_rolling_windows_score_every_token_once() -> None:
    """By hand, as lm-eval's get_rolling_token_windows gives them for max_seq_len 3: the last window
    reaches back over tokens that are scored already."""
    changed = _protocol(
        3, scored="rolling", bos="none", text_bos=False, text="as-it-is", unit="byte"
    )
    windows = cut("abcdefgh", Letters(), changed)
    assert windows.tokens.tolist() == [[9, 0, 1, 2], [2, 3, 4, 5], [4, 5, 6, 7]]
    assert windows.spans.tolist() == [[0, 3], [0, 3], [1, 3]]
    assert [windows.targets(n).tolist() for n in range(3)] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert (windows.scored, windows.units, windows.available) == (8, 8, 3)


def test_a_short_document_is_padded_and_scored_to_its_end() -> None:
    changed = _protocol(
        6, scored="rolling", bos="none", text_bos=False, text="as-it-is", unit="byte"
    )
    backend = Letters(n_ctx_train=8)
    tokenized, result = _measured(backend, "bcd", changed)
    assert tokenized.windows.tokens.tolist() == [[9, 1, 2, 3]]
    # From 9 comes 0 at 27 to 1, not b: 1/36; then c and d at 27/36.
    nll = [math.log(36), math.log(36 / 27), math.log(36 / 27)]
    assert result.nll.tolist() == pytest.approx(nll)
    score = scores_of(tokenized, result.nll)
    assert score.name == "bits_per_byte"
    assert score.value == pytest.approx(sum(nll) / 3 / math.log(2))


@dataclass
class Meeting(Letters):
    """Computes a window only while another lane computes one too."""

    barrier: Barrier = field(default_factory=lambda: Barrier(2))

    def logits(self, windows: Tokens, *, first: int) -> Iterator[Block]:
        self.barrier.wait(timeout=30)
        yield from super().logits(windows, first=first)


def test_lanes_compute_at_the_same_time_and_one_that_fails_ends_the_pass() -> None:
    _, found = _measured(Meeting(n_lanes=2), "abcdefghihgfedcbaabcdefg", _protocol(4))
    _, alone = _measured(Letters(), "abcdefghihgfedcbaabcdefg", _protocol(4))
    assert found.nll.tolist() == alone.nll.tolist()
    with pytest.raises(DataError, match="9 NaN of 10 logits at position 2 of window 0"):
        _measured(Letters(poison=math.nan, n_lanes=2), "abcdefghihgfedcbaabcdefg", _protocol(4))


@dataclass
class Busy(Letters):
    """Counts the windows that are being computed."""

    now: list[int] = field(default_factory=list)

    def logits(self, windows: Tokens, *, first: int) -> Iterator[Block]:
        self.now.append(0)
        time.sleep(0.05)
        yield from super().logits(windows, first=first)
        self.now.pop()


def test_no_lane_computes_after_a_pass_that_failed() -> None:
    """Or a model would be freed under it."""
    backend = Busy(n_lanes=2)
    windows = tokenize("abcdefghihgfedcbaabcdefg", backend, _protocol(4), name="").windows

    def disk_is_full(done: int, total: int) -> None:
        raise OSError("no space left on device")

    work = WindowPass(backend, windows, order=range(len(windows.tokens)), files=GroupFiles(None))
    with pytest.raises(OSError, match="no space") as failed:
        work.run(NllScorer(windows), progress=disk_is_full)
    assert failed.tb is not None  # what holds the frames, and with them the pass
    assert backend.now == []


@pytest.mark.parametrize("lanes", [1, 2])
def test_what_is_kept_is_not_computed_again(lanes: int, tmp_path: Path) -> None:
    text, backend = "abcdefghihgfedcbaabcdefg", Letters(at_once=2, n_lanes=lanes)
    tokenized = tokenize(text, backend, _protocol(4), name="")
    windows = tokenized.windows
    order = [3, 0, 5, 1, 4, 2]
    stopped = WindowPass(backend, windows, order=order, files=GroupFiles(tmp_path))
    assert stopped.run(NllScorer(windows), enough=lambda found: len(found) >= 2) == 2
    (tmp_path / "group-000001.writing").write_bytes(b"half")
    seen: list[tuple[int, int]] = []
    again = WindowPass(backend, windows, order=order, files=GroupFiles(tmp_path))
    assert again.run(NllScorer(windows), progress=lambda *at: seen.append(at)) == 4
    assert seen == [(16, 24), (24, 24)]
    whole = WindowPass(backend, windows, order=order, files=GroupFiles(None))
    whole.run(NllScorer(windows))
    assert [part.tolist() for part in again.values] == [part.tolist() for part in whole.values]
    assert (
        WindowPass(backend, windows, order=order, files=GroupFiles(tmp_path)).run(
            NllScorer(windows)
        )
        == 0
    )
