"""How windows and threads are shared out, and that it changes no value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qpipe.evaluators.perplexity import measure
from qpipe.evaluators.text.protocols import protocol
from qpipe.evaluators.text.windows import tokenize
from qpipe.llamacpp.backend import LlamaCppBackend
from qpipe.llamacpp.lane import shares, together

TEXT = "Once upon a time there was a little girl who had a red ball. " * 40


@pytest.mark.parametrize(
    ("width", "n_vocab", "at_once", "threads"),
    [
        (256, 32_000, 2, [1, 1, 1, 1]),
        (512, 32_000, 2, [2, 2]),
        (2048, 32_000, 1, [4]),
        (64, 512, 8, [1, 1, 1, 1]),
        # 256 rows of so many logits are 262 MB: two windows, and one lane.
        (512, 256_000, 2, [4]),
        (2048, 256_000, 1, [4]),
    ],
)
def test_lanes_take_no_more_memory_than_one_context_of_2048_tokens(
    width: int, n_vocab: int, at_once: int, threads: list[int]
) -> None:
    rows = width // 2 - 1
    assert together(width, rows, n_vocab=n_vocab) == at_once
    found = shares(4, width, rows, n_vocab=n_vocab, most=99)
    assert found == threads
    assert len(found) * at_once * width <= 2048
    assert len(found) == 1 or len(found) * at_once * rows * n_vocab * 4 <= 512 << 20


def test_threads_are_shared_out_to_the_last_and_no_lane_is_without_work() -> None:
    assert shares(7, 256, 127, n_vocab=512, most=99) == [2, 2, 2, 1]
    assert shares(7, 256, 127, n_vocab=512, most=2) == [4, 3]
    assert shares(1, 256, 127, n_vocab=512, most=99) == [1]


@pytest.mark.parametrize("ftype", ["Q4_0", "Q4_K_M"])
def test_threads_and_lanes_change_no_value(ftype: str, gguf_of: Callable[[str, str], Path]) -> None:
    """To the bit: results are cached whatever the machine that computed them had."""
    found = []
    for threads in (1, 2, 3):
        with LlamaCppBackend(gguf_of("stories260K", ftype), threads=threads) as backend:
            cut = protocol("llamacpp-512").with_overrides(n_ctx=64)
            tokenized = tokenize(TEXT, backend, cut, name="")
            windows = tokenized.windows
            assert len(backend.lanes(64, 31, most=99)) == threads
            found.append(measure(backend, tokenized).nll)
            blocks = [b.copy() for _, _, b in backend.logits(windows.tokens[:16], first=31)]
            found.append(np.concatenate(blocks))
    assert all((nll == found[0]).all() for nll in found[2::2])
    assert all((logits == found[1]).all() for logits in found[3::2])
