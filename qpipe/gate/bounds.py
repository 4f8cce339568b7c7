"""The losses that a gate allows: percentage points of accuracy, nats, percent of perplexity."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from qpipe.errors import UsageError, quoted

DROP, KLD, PPL = "drop", "kld", "ppl"

# Kind → the unit of a bound as it is written, how many of it make 1, and an example.
_UNITS = {DROP: ("pp", 100.0, "1pp"), KLD: ("", 1.0, "0.02"), PPL: ("%", 100.0, "1%")}
_ALSO = {KLD: "nats"}
_WORDS = {
    DROP: "percentage points of accuracy",
    KLD: "nats a token of KL divergence",
    PPL: "percent of the reference's perplexity",
}


@dataclass(frozen=True)
class Bounds:
    """The most that may be lost: ``drop`` as a share of items (1pp is 0.01), ``kld`` in nats a
    token, ``ppl`` as a share of the reference's perplexity; None is no bound.

    With ``equivalent`` a drop and a perplexity may not be better by more either.
    """

    drop: float | None = None
    kld: float | None = None
    ppl: float | None = None
    equivalent: bool = False

    def __post_init__(self) -> None:
        """Raise UsageError for no bound, and for equivalence where there is but one side."""
        if not self.given:
            raise UsageError(
                "no bound is given: say how much may be lost, with --max-drop 1pp (accuracy in "
                "tasks), --max-kld 0.02 (nats) or --max-ppl 1%"
            )
        if self.equivalent and self.drop is None and self.ppl is None:
            raise UsageError(
                "--equivalent goes with --max-drop or --max-ppl: a KL divergence has one side"
            )

    @property
    def given(self) -> dict[str, float]:
        """The bounds that are given, by their kind."""
        every = {DROP: self.drop, KLD: self.kld, PPL: self.ppl}
        return {kind: bound for kind, bound in every.items() if bound is not None}


def parsed(
    *, drop: str | None, kld: str | None, ppl: str | None, equivalent: bool = False
) -> Bounds:
    """Read bounds as they are written. Raises UsageError for one that means nothing."""
    written = {DROP: drop, KLD: kld, PPL: ppl}
    given = {kind: _number(kind, text) for kind, text in written.items() if text is not None}
    return Bounds(**given, equivalent=equivalent)


def _number(kind: str, text: str) -> float:
    unit, times, _ = _UNITS[kind]
    parts = re.fullmatch(r"\s*([-+]?[0-9.]+(?:[eE][-+]?\d+)?|[-+]?nan|[-+]?inf\w*)\s*(\D*?)\s*",
                         text, re.IGNORECASE)  # fmt: skip
    try:
        number = float(parts[1]) if parts else math.nan
    except ValueError:
        number = math.nan
    if parts is None or not math.isfinite(number):
        raise _wrong(kind, text, "that is no number")
    if number <= 0:
        raise _wrong(kind, text, "no data can show that nothing at all is lost")
    if parts[2] not in (unit, _ALSO.get(kind, unit)):
        raise _wrong(kind, text, _other_unit(kind, parts[2], text))
    if kind == DROP and number >= times:
        raise _wrong(kind, text, "that is every item")
    return number / times


def _other_unit(kind: str, unit: str, text: str) -> str:
    wanted = _UNITS[kind][0]
    if not unit:
        number = float(text)
        other = f", or {number * 100:g}{wanted}" if abs(number) < 1 else ""
        return f"without a unit it may be {number:g}{wanted}{other}"
    known = {"pp": _WORDS[DROP], "%": "percent"}.get(unit)
    return f"{unit} are {known}" if known else f"{quoted(unit)} is no unit"


def _wrong(kind: str, text: str, why: str) -> UsageError:
    return UsageError(
        f"--max-{kind} {text}: {why}; the bound is in {_WORDS[kind]}, such as "
        f"--max-{kind} {_UNITS[kind][2]}"
    )


def shown(kind: str, bound: float) -> str:
    """Write a bound as it is given."""
    unit, times, _ = _UNITS[kind]
    gap = " " if unit else ""
    return f"{bound * times:.4g}{gap}{unit}"
