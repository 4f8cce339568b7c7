"""What came of a published value: reproduced, off by so much, not comparable, cannot be run."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from qpipe.published import comparable
from qpipe.published.figures import Ours
from qpipe.published.schema import PublishedValue
from qpipe.published.tolerance import Allowance, allowance

Word = Literal["reproduced", "off", "not_comparable", "cannot_run", "would_run"]
WORDS: tuple[Word, ...] = ("reproduced", "off", "not_comparable", "cannot_run", "would_run")

# What is added to a tolerance, relative to it: numbers of ours are binary.
_BINARY = 1e-9
_FEW = 10  # times the tolerance, up to which hundredths are shown


@dataclass(frozen=True)
class Verdict:
    """A verdict in a word and why; ``ours``, how far it is off and what was allowed, where there is
    a figure of ours."""

    word: Word
    why: str = ""
    ours: Ours | None = None
    difference: float | None = None
    allowed: Allowance | None = None

    @property
    def ratio(self) -> float | None:
        """The difference in units of the tolerance; None without one."""
        if self.difference is None or self.allowed is None or not self.allowed.total:
            return None
        return abs(self.difference) / self.allowed.total


def judge(value: PublishedValue, ours: Ours, *, calibrated: bool = False) -> Verdict:
    """Set a figure of ours beside a published value; ``calibrated``: the bytes behind it hang on
    calibration data."""
    published = float(value.printed.value)
    allowed = allowance(value, ours)
    difference = ours.value - published
    why = comparable.afterwards(value, ours)
    if why is not None:
        return Verdict("not_comparable", why, ours, difference, allowed)
    if abs(difference) <= allowed.total * (1 + _BINARY):
        return Verdict("reproduced", "", ours, difference, allowed)
    off = Verdict("off", _off(value, difference, allowed), ours, difference, allowed)
    if calibrated and value.row.calibration is None:
        why = f"unknown calibration: the table does not say on what; {off.why}"
        return Verdict("not_comparable", why, ours, difference, allowed)
    return off


def _off(value: PublishedValue, difference: float, allowed: Allowance) -> str:
    shown = signed(value, difference)
    if not allowed.total:
        return f"off by {shown}, where nothing is allowed"
    times = abs(difference) / allowed.total
    return f"off by {shown} ({times:.{2 if times < _FEW else 0}f} × tolerance)"


def decimals(value: PublishedValue, more: int = 1) -> int:
    """The decimals with which a figure of ours is shown: those that were printed, and ``more``."""
    if value.metric.unit == "B":  # there are no parts of a byte
        return 0
    exponent = value.printed.value.as_tuple().exponent
    return max(0, -exponent + more) if isinstance(exponent, int) else more


def shown(value: PublishedValue, number: float) -> str:
    """A figure of ours as it stands beside what was printed, with one digit more."""
    places = decimals(value)
    text = f"{number:.{places}f}"
    if number and not Decimal(text):  # smaller than what is shown
        return f"{number:.2g}"
    return text


def signed(value: PublishedValue, difference: float) -> str:
    """A difference with its sign."""
    text = shown(value, abs(difference))
    return f"{'-' if difference < 0 else '+'}{text}"
