"""Sizes and ages as people write them."""

from __future__ import annotations

import re

from qpipe.errors import UsageError

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)
_SIZES = {
    "": 1, "b": 1,
    "k": 10**3, "kb": 10**3, "kib": 2**10,
    "m": 10**6, "mb": 10**6, "mib": 2**20,
    "g": 10**9, "gb": 10**9, "gib": 2**30,
    "t": 10**12, "tb": 10**12, "tib": 2**40,
}  # fmt: skip
_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_size(text: str, *, option: str) -> int:
    """Bytes of ``50GB`` (10⁹), ``50GiB`` (2³⁰), ``50G`` (as GB).

    Raises UsageError, which names ``option``.
    """
    match = _NUMBER.fullmatch(text.strip())
    if match is None or match[2].lower() not in _SIZES:
        raise UsageError(
            f"{option} {text}: this is no size; write a number and a unit, such as 50GB, 800MiB "
            "or 0 (bytes)"
        )
    return int(float(match[1]) * _SIZES[match[2].lower()])


def parse_age(text: str, *, option: str) -> float:
    """Seconds of ``30d``, ``12h``, ``45m``, ``2w``, ``90s``. Raises UsageError."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None or match[2].lower() not in _AGES:
        raise UsageError(
            f"{option} {text}: this is no age; write a number and s, m, h, d or w, such as 30d"
        )
    return float(match[1]) * _AGES[match[2].lower()]
