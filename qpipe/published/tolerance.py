"""How far our figure may be from a published one, in parts that are each named.

Rounding and what a prediction leaves open are certain bounds and add up; standard errors and known
spreads are independent and add in squares: ``rounding + prediction + √(sampling² + Σ spread²)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from qpipe.published.figures import Ours
from qpipe.published.schema import PublishedValue, Tolerance
from qpipe.results.scores import NORMAL_95

PartName = Literal["rounding", "prediction", "sampling", "spread"]


@dataclass(frozen=True)
class TolerancePart:
    """A part of a tolerance: its half width in the metric's unit, and where it comes from."""

    name: PartName
    size: float
    why: str


@dataclass(frozen=True)
class Allowance:
    """The tolerance of a value, by its parts."""

    parts: tuple[TolerancePart, ...]

    @property
    def total(self) -> float:
        """Half the width of what counts as equal."""
        sure = sum(part.size for part in self.parts if part.name in ("rounding", "prediction"))
        spread = [part.size for part in self.parts if part.name in ("sampling", "spread")]
        return sure + math.hypot(*spread) if spread else sure


def allowance(value: PublishedValue, ours: Ours) -> Allowance:
    """The tolerance with which a published value and ours are compared."""
    return Allowance(tuple(_parts(value, ours)))


def _parts(value: PublishedValue, ours: Ours) -> Iterator[TolerancePart]:
    printed = value.printed.value
    rounding = float(value.rounding)
    yield TolerancePart("rounding", rounding, "half a unit of the last digit that was printed")
    if ours.uncertain:
        yield TolerancePart("prediction", ours.uncertain, ours.uncertain_why)
    if (sampling := _sampling(value, ours)) is not None:
        yield sampling
    if ours.spread:
        yield TolerancePart("spread", ours.spread, "half the interquartile range of our rounds")
    for tolerance in (*value.metric.tolerances, *value.printed.tolerances):
        yield TolerancePart("spread", _width(tolerance, float(printed)), tolerance.why)


def _width(tolerance: Tolerance, published: float) -> float:
    if tolerance.absolute is not None:
        return float(tolerance.absolute)
    return float(tolerance.relative or 0) * abs(published)


def _sampling(value: PublishedValue, ours: Ours) -> TolerancePart | None:
    """The part of both sides' standard errors: nothing where the tokens are the same; None where
    no side states one."""
    if same_tokens(value, ours):
        return TolerancePart("sampling", 0.0, "none: the tokens are the same, both sides share it")
    errors = {"theirs": published_stderr(value), "ours": ours.stderr}
    known = {side: error for side, error in errors.items() if error}
    if not known:
        return None
    words = ", ".join(f"{side} {error:.4g}" for side, error in known.items())
    size = NORMAL_95 * math.hypot(*known.values())
    return TolerancePart("sampling", size, f"{NORMAL_95} standard errors ({words})")


def same_tokens(value: PublishedValue, ours: Ours) -> bool:
    """True if both sides were measured on the very same tokens."""
    digest = value.metric.tokens_sha256
    return digest is not None and digest == ours.tokens_sha256


def published_stderr(value: PublishedValue) -> float | None:
    """The standard error that was published, or that the published interval comes to."""
    printed = value.printed
    if printed.stderr is not None:
        return float(printed.stderr)
    if printed.interval is None:
        return None
    low, high = printed.interval
    return float(high - low) / 2 / NORMAL_95
