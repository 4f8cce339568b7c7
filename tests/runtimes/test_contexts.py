"""Tokens of context as people write them."""

from __future__ import annotations

import pytest

from qpipe.errors import UsageError
from qpipe.runtimes.contexts import USUAL_CONTEXT, count, usual_context


@pytest.mark.parametrize(
    ("text", "tokens"), [("8192", 8192), ("32k", 32768), ("131,072", 131072), (512, 512)]
)
def test_counts(text: int | str, tokens: int) -> None:
    assert count(text, "--ctx") == tokens


@pytest.mark.parametrize("text", ["", "k", "0", "-1", "1.5k", "long", "99999999999"])
def test_no_count(text: str) -> None:
    with pytest.raises(UsageError, match="--ctx"):
        count(text, "--ctx")


def test_no_more_than_the_model_was_made_for() -> None:
    assert usual_context(2048) == 2048
    assert usual_context(131072) == usual_context(None) == USUAL_CONTEXT
