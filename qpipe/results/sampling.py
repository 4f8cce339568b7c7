"""What a measurement says where it was made on a part of the data alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A level that is better than another and no larger: the digest of its content, its format, its
    bytes, its score as it was measured, by how much it is better, at least by how much with a
    ``confidence``, and what it is called."""

    digest: str | None = None
    format: str | None = None
    size_bytes: int | None = None
    kld: float | None = None
    difference: float
    difference_at_least: float
    confidence: float
    name: str | None = None


@dataclass(frozen=True)
class Sampling:
    """A part that was enough, where not all was measured: how much, in ``words``, the 95 % interval
    for what all would give, and the level for whose sake the measurement ended early."""

    words: str
    interval: tuple[float, float] | None = None
    dominated_by: Rival | None = None
