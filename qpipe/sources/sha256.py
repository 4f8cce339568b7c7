"""A SHA-256 as users give it."""

from __future__ import annotations

import re
from collections.abc import Sequence

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


def digest_named(text: str) -> str:
    """A digest as 64 small hex digits. Raises ValueError for what is none."""
    match = _DIGEST.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(
            f"{text!r} is no SHA-256: it has 64 hex digits, as `sha256sum FILE` prints them"
        )
    return match[1]


def digests_named(value: str | Sequence[str] | None) -> list[str]:
    """The digests of a setting, which is one, a list of them, or none. Raises ValueError."""
    texts = [value] if isinstance(value, str) else value or []
    return [digest_named(text) for text in texts]
