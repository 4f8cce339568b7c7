"""One figure of a measurement, and what a report must know to show it.

A score declares itself: nothing else has to be told of it for it to stand in every format.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

Better = Literal["lower", "higher"]

# The interquartile range, of the value, up to which rounds agree.
_STEADY = 0.3

NORMAL_95 = 1.96
"""Standard errors on each side of a 95 % interval."""

BYTES = "bytes"
"""The unit of what is shown as a size."""

# Fields of a row that are no scores: no score may be called so.
RESERVED = frozenset(
    {"name", "model", "format", "reference", "size_bytes", "bits_per_weight", "weights",
     "dominated_by", "cut_short", "unsteady", "same_as",
     "protocol", "seconds", "evaluate_seconds", "status", "run", "key",
     "artifact", "file", "link", "path", "overrides", "notes", "error", "measurements", "scores",
     "score_types", "text", "tokens", "tokens_scored", "tokens_sha256", "items", "backend",
     "sampling", "interval", "tokens_per_second", "distribution", "arithmetic", "unlike",
     "computed_on"}
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """The declaration of a score: how it is to be read.

    ``better`` is None where neither way is; ``digits`` are decimals (None: four, of small values
    three figures; of rates and times one, of small ones three). ``detail``: JSON and CSV have it,
    tables for people do not. ``compared``: reports give its difference to the reference's.
    ``heading`` is what tables call it: its name and ``unit`` if that is None.
    """

    unit: str = ""
    better: Better | None = None
    digits: int | None = None
    detail: bool = False
    compared: bool = False
    heading: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a field that cannot be drawn."""
        if self.better not in (None, "lower", "higher"):
            raise ValueError(f"better={self.better!r} of a score: it is lower, higher or None")
        if self.digits is not None and not 0 <= self.digits <= 15:
            raise ValueError(f"digits={self.digits!r} of a score: it is 0 to 15, or None")


@dataclass(frozen=True)
class Difference:
    """A model's score minus its reference's, with the standard error, the 95 % interval, and the
    probability ``p`` of one as uneven where there is none, as far as they are known."""

    value: float
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Score(Declaration):
    """A figure under its name; ``where`` is the task of a metric that several tasks have.

    ``stderr`` is its standard error, ``interval`` its 95 % interval, ``iqr`` its interquartile
    range over rounds; ``delta`` and ``ratio`` say where it is beside the reference's, ``base`` is
    the reference's in the same rounds.
    Raises ValueError for a name that a table cannot have, and for what is no number.
    """

    name: str
    value: float
    stderr: float | None = None
    interval: tuple[float, float] | None = None
    iqr: float | None = None
    delta: Difference | None = None
    ratio: float | None = None
    base: float | None = None
    where: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError for a score that no table can show."""
        super().__post_init__()
        if not self.name or self.name.endswith("]") or self.key in RESERVED:
            raise ValueError(
                f"a score cannot be called {self.name!r}: reports have a field of that name, or it "
                "ends in a bracket (a task stands in `where`)"
            )
        low, high = self.interval or (0.0, 0.0)
        for value in (self.value, self.stderr or 0.0, low, high):
            if isinstance(value, bool) or not math.isfinite(value):
                raise ValueError(f"score {self.name}: {value!r} is no finite number")

    @property
    def unsteady(self) -> bool:
        """True if the middle half of the rounds is spread over more than 30 % of the value."""
        return self.iqr is not None and self.iqr > _STEADY * abs(self.value)

    @property
    def key(self) -> str:
        """The name with its task: ``ppl``, ``acc[mmlu]``."""
        return f"{self.name}[{self.where}]" if self.where else self.name


_DECLARED = tuple(field.name for field in fields(Declaration))

_UP = Declaration(better="higher")
_DOWN = Declaration(better="lower")

_STANDARD: Mapping[str, Declaration] = {
    "ppl": Declaration(better="lower", compared=True),
    "word_ppl": _DOWN,
    "kld": Declaration(unit="nats", better="lower", heading="kld"),
    "same_top_pct": Declaration(unit="%", better="higher", heading="same_top_pct"),
    "rms_dp_pct": Declaration(unit="%", better="lower", heading="rms_dp_pct"),
    **{
        f"kld_{which}": Declaration(unit="nats", better="lower", detail=True)
        for which in ("at_most", "median", "p99", "p99_9", "max", "noise")
    },
    "pp": Declaration(unit="t/s", better="higher"),
    "tg": Declaration(unit="t/s", better="higher"),
    "ttft": Declaration(unit="s", better="lower"),
    "peak_rss": Declaration(unit=BYTES, better="lower"),
    "peak_vram": Declaration(unit=BYTES, better="lower"),
    "load_start": Declaration(detail=True),
    "load_end": Declaration(detail=True),
    "others_cpu_pct": Declaration(unit="%", digits=0, heading="others' CPU %"),
    # Of lm-evaluation-harness.
    **dict.fromkeys(
        ("acc", "acc_norm", "acc_mutual_info", "exact_match", "f1", "mcc", "bleu", "chrf"), _UP
    ),
    **dict.fromkeys(
        ("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "ter", "brier_score"),
        _DOWN,
    ),
}


def standard(name: str) -> Declaration:
    """The declaration of a score of the field's own vocabulary; an empty one for any other name.

    Manifests and runs that were written before scores declared themselves are read with it.
    """
    return _STANDARD.get(name, _NOTHING)


_NOTHING = Declaration()


def score(name: str, value: float, *, of: Declaration | None = None, **figures: Any) -> Score:
    """Make a `Score` with the declaration ``of``, by default the `standard` one of its name."""
    declared = standard(name) if of is None else of
    return Score(name, value, **{n: getattr(declared, n) for n in _DECLARED}, **figures)
