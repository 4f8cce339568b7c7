"""Tokens of context: how they are written, and where nobody names any."""

from __future__ import annotations

from qpipe.errors import UsageError

_MOST = 10**9

USUAL_CONTEXT = 8192
"""A conversation and its answer. Runtimes have no common default: Ollama takes 4,096 tokens below
24 GiB of GPU memory and 262,144 from 48 (docs/context-length.mdx, August 2026), llama.cpp and vLLM
all that the model was made for. With a longer one a small machine would be told that nothing fits
which runs there every day; so answers say beside it how long a context may be."""


def usual_context(trained: int | None) -> int:
    """The usual context of a model that was made for so many tokens, None where nobody says."""
    return min(USUAL_CONTEXT, trained or USUAL_CONTEXT)


def count(value: int | str, option: str) -> int:
    """A whole number of at least 1, as ``8192`` or ``32k``. Raises UsageError for another text,
    which names ``option``."""
    text = str(value).strip().lower().replace(",", "").replace("_", "")
    digits = text.removesuffix("k")
    if not digits.isdecimal() or not 0 < int(digits) <= _MOST:
        raise UsageError(f"{option} {value}: give a whole number of at least 1, as 8192 or 32k")
    return int(digits) * (1024 if text.endswith("k") else 1)
