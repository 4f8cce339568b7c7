"""Tokens of two tokenizers, which must be the same where models are compared."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest

from qpipe.errors import DataError
from qpipe.evaluators.text.windows import About, Tokenized, Windows


def tokenized(ids: Sequence[Sequence[int]], first: int = 1) -> Tokenized:
    tokens = np.array(ids, np.int32)
    spans = np.array([[first, tokens.shape[1] - 1]] * len(tokens), np.int32)
    windows = Windows(tokens, spans, len(tokens), tokens.size, None)
    width = tokens.shape[1]
    about = About("t.txt", "p", 1, "token", None, width, len(tokens), tokens.size, windows.sha256)
    return Tokenized(windows, about)


def test_the_same_are_accepted() -> None:
    ids = [[1, 2, 3, 4], [1, 5, 6, 7]]
    tokenized(ids).require_same(tokenized(ids), model="m")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ([[1, 2, 3, 4], [1, 5, 9, 7]], "from token 6 on t.txt is 9, 7 by the one and 6, 7 by the"),
        ([[1, 2, 3, 4]], "from token 4 on t.txt is none by the one and 1, 5, 6, 7 by the other"),
    ],
)
def test_the_first_that_differs_is_named(other: Sequence[Sequence[int]], words: str) -> None:
    reference = tokenized([[1, 2, 3, 4], [1, 5, 6, 7]])
    with pytest.raises(DataError, match=re.escape(words)):
        tokenized(other).require_same(reference, model="m")


def test_other_tokens_that_are_scored_are_not_the_same() -> None:
    ids = [[1, 2, 3, 4]]
    with pytest.raises(DataError, match="tokenizer of m is not that of"):
        tokenized(ids, first=2).require_same(tokenized(ids), model="m")
