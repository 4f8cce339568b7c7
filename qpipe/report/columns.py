"""Columns of a comparison as people read them: facts of the models, scores, differences, ratios."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from qpipe.report import numbers
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.results.scores import BYTES, Difference, Score

LEFT, RIGHT = "l", "r"

RATES = ("t/s", "s")
"""The units of scores of speed."""

# Statuses of a row that has all it can have.
_FINE = ("ran", "cached")

# Of a normal distribution, how many standard errors 95 % are to each side.
_STDERRS = 1.96
# Widths of intervals that four decimals do not show.
_SMALL = 0.001
NONE_SEEN = "n.s."
UNSTEADY = "!"
UNLIKE = "≠"
REF = "ref"
_NONE = "—"

# Ranks of columns: what a narrow table has first.
NAMES, STATUS, SIZE, FIRST, DIFFERENCE, BITS, FORMAT, MORE = range(8)


class Column(NamedTuple):
    """A heading, the side on which the cells are aligned, and for each row a cell and the number
    that it shows, None where there is none.

    ``show`` writes such a number, None of words; of columns that have no room beside each other
    those of lower ``rank`` come first.
    """

    heading: str
    side: str
    cells: Sequence[str]
    values: Sequence[float | None]
    show: Callable[[float], str] | None = None
    rank: int = MORE

    @property
    def of_file(self) -> bool:
        """True of what is known without any measurement."""
        return self.rank in (SIZE, BITS, FORMAT)


def columns(comparison: Comparison) -> Iterator[Column]:
    """The columns of a comparison: names, facts, then quality before speed before memory."""
    rows = comparison.rows
    yield from _names(rows)
    yield _numbers("size", [row.size_bytes for row in rows], numbers.size, SIZE)
    yield _numbers("bpw", [row.bits_per_weight for row in rows], lambda v: f"{v:.3f}", BITS)
    # How far a model is from its reference says more than its perplexity.
    keys = sorted(comparison.scores, key=lambda key: _place(key, rows))
    for number, key in enumerate(keys):
        yield from _of_score(key, rows, first=number == 0 or _is_speed(key, rows))
    ends = [row.status if row.status not in _FINE else "" for row in rows]
    if any(ends):
        yield _words("status", ends, STATUS)


def _names(rows: Sequence[ModelRow]) -> Iterator[Column]:
    """Names and formats, each where it says more than the other."""
    names = [row.name for row in rows]
    formats = [row.format or "" for row in rows]
    if names != formats:
        yield _words("name", names, NAMES)
    if names == formats or not all(map(_says, names, formats)):
        # Names that tell rows apart leave the format to where there is room.
        told = names != formats and len(set(names)) == len(names)
        yield _words("format", formats, FORMAT if told else NAMES)


def _says(name: str, form: str) -> bool:
    return form in name.split(" ") or not form


def _place(key: str, rows: Sequence[ModelRow]) -> tuple[int, bool]:
    """The place of a score's columns: quality, the divergence first, then speed, then memory, then
    what is neither good nor bad."""
    score = _declared(key, rows)
    kind = 2 if score.unit == BYTES else int(score.unit in RATES)
    return (3 if score.better is None and kind == 0 else kind), score.name != "kld"


def _declared(key: str, rows: Sequence[ModelRow]) -> Score:
    return next(row.scores[key] for row in rows if key in row.scores)


def _is_speed(key: str, rows: Sequence[ModelRow]) -> bool:
    """Return whether a score is a rate; times say the same in other units."""
    return _declared(key, rows).unit == RATES[0]


def _words(heading: str, values: Sequence[str], rank: int) -> Column:
    return Column(heading, LEFT, values, [None] * len(values), None, rank)


def _numbers(
    heading: str, values: Sequence[float | None], show: Callable[[float], str], rank: int
) -> Column:
    cells = ["" if value is None else show(value) for value in values]
    return Column(heading, RIGHT, cells, values, show, rank)


def _of_score(key: str, rows: Sequence[ModelRow], *, first: bool) -> Iterator[Column]:
    """The columns of a score: itself, and its difference and ratio to the reference's."""
    every = [row.scores.get(key) for row in rows]
    scores = [score for score in every if score is not None]
    named = scores[0]
    if named.detail:
        return
    where = f" [{named.where}]" if named.where else ""
    noise = noise_of(named, rows)

    def column(
        heading: str,
        draw: Callable[[ModelRow, Score], str],
        value: Callable[[Score], float | None],
        show: Callable[[float], str],
        rank: int,
        *,
        of_reference: str,
    ) -> Column:
        cells = [
            (draw(row, of) if of else "") or (of_reference if row.reference else "")
            for row, of in zip(rows, every, strict=True)
        ]
        values = [value(of) if of else None for of in every]
        return Column(f"{heading}{where}", RIGHT, cells, values, show, rank)

    yield column(
        _heading(scores),
        lambda row, of: _value(row, of, noise),
        lambda of: of.value,
        _number(named),
        FIRST if first else MORE,
        of_reference=_NONE if named.name == "kld" else "",
    )
    beside = DIFFERENCE if first or named.compared else MORE
    deltas = [score.delta for score in scores if score.delta]
    if deltas or any(score.compared for score in scores):
        sure = " [95 %]" if any(interval_of(delta) for delta in deltas) else ""
        yield column(
            f"Δ {named.name}{sure}",
            _delta,
            lambda of: of.delta.value if of.delta else None,
            _signed(named),
            beside,
            of_reference=_NONE,
        )
    if first and any(score.base is not None for score in scores):
        yield column(
            f"{named.name} {REF}",
            lambda row, of: "" if of.base is None else _number(of)(of.base),
            lambda of: of.base,
            _number(named),
            beside,
            of_reference=_NONE,
        )
    if any(score.ratio is not None for score in scores):
        heading = f"{named.name}/{REF}"
        yield column(heading, _ratio, lambda of: of.ratio, _times, beside, of_reference=_NONE)


def noise_of(score: Score, rows: Sequence[ModelRow]) -> float | None:
    """The noise of a divergence; None of any other score."""
    if score.name != "kld":
        return None
    every = [of for row in rows for of in row.scores.values() if of.where == score.where]
    return max((abs(of.value) for of in every if of.name == "kld_noise"), default=0.0)


def _heading(scores: Sequence[Score]) -> str:
    """The heading of a score's column, with the unit and what is beside the figure."""
    first = scores[0]
    title = first.heading or " ".join(filter(None, [first.name, numbers.named(first.unit)]))
    if any(score.stderr is not None for score in scores):
        return f"{title} ± stderr"
    if any(score.interval for score in scores):
        return f"{title} [95 %]"
    return f"{title} (IQR)" if any(score.iqr is not None for score in scores) else title


def _number(score: Score) -> Callable[[float], str]:
    return lambda value: numbers.figure(value, unit=score.unit, digits=score.digits)


def _signed(score: Score, *, error: float = 1.0) -> Callable[[float], str]:
    """Differences with their sign; where the score declares no digits, in four decimals, or as many
    as show two figures of the error."""
    digits = score.digits
    if digits is None and 0 < error < _SMALL:
        digits = min(9, 1 - math.floor(math.log10(error)))
    return lambda value: numbers.signed(value, unit=score.unit, digits=digits)


def _value(row: ModelRow, score: Score, noise: float | None) -> str:
    """A score with what is known of its error; a divergence within ``noise`` is marked."""
    number = _number(score)
    figure = number(score.value)
    shown = _about(row, score, "") + figure
    if score.stderr is not None:
        shown = f"{shown} ± {error_beside(figure, score.stderr) or number(score.stderr)}"
    elif score.interval is not None:
        shown = f"{shown} [{number(score.interval[0])}, {number(score.interval[1])}]"
    elif score.iqr is not None:
        share = f"{score.iqr / score.value:.0%}" if score.value else number(score.iqr)
        shown = f"{shown} ({share}){f' {UNSTEADY}' if score.unsteady else ''}"
    return shown if noise is None or is_seen(score, noise) else f"{shown} {NONE_SEEN}"


def is_seen(score: Score, noise: float | None) -> bool:
    """Return whether a divergence is more than ``noise``, or a difference to the reference can be
    told from none, with 95 % confidence; True where nothing says how exact it is."""
    if noise is not None:
        return score.value > max(noise, _STDERRS * (score.stderr or 0.0))
    interval = interval_of(score.delta) if score.delta else None
    return interval is None or not interval[0] <= 0 <= interval[1]


def error_beside(figure: str, error: float) -> str | None:
    """Write an error in as many decimals as the figure it is of has.

    Returns None where it would be zero, or the figure is none of decimals alone.
    """
    decimals = re.fullmatch(r"[-+]?[\d,]+\.(\d+)", figure)
    if decimals is None:
        return None
    shown = f"{error:.{len(decimals[1])}f}"
    return shown if not error or float(shown) else None


def _delta(row: ModelRow, score: Score) -> str:
    """The difference to the reference, with its 95 % interval where there is one; else in percent
    of the reference too."""
    delta = score.delta
    if delta is None:
        return ""
    signed = _signed(score)
    about = _about(row, score, "_delta")
    if (interval := interval_of(delta)) is None:
        reference = score.value - delta.value
        percent = f" ({numbers.percent(delta.value / reference)})" if reference else ""
        return f"{about}{signed(delta.value)}{percent}"
    low, high = interval
    if low == high == 0:
        return f"0 (all alike) {NONE_SEEN}"
    signed = _signed(score, error=high - low)
    seen = "" if is_seen(score, None) else f" {NONE_SEEN}"
    return f"{about}{signed(delta.value)} [{signed(low)}, {signed(high)}]{seen}"


def interval_of(delta: Difference) -> tuple[float, float] | None:
    """Return the 95 % interval of a difference, by its standard error where that is all; None where
    nothing says how exact it is."""
    if delta.low is not None and delta.high is not None:
        return delta.low, delta.high
    if delta.stderr is None:
        return None
    half = _STDERRS * delta.stderr
    return delta.value - half, delta.value + half


def _ratio(row: ModelRow, score: Score) -> str:
    return "" if score.ratio is None else _times(score.ratio)


def _times(ratio: float) -> str:
    return f"{ratio:.2f} ×"


def _about(row: ModelRow, score: Score, part: str) -> str:
    """The marks of a figure that is an estimate, since its measurement ended early, and of one that
    compares two arithmetics; else nothing."""
    where = f"[{score.where}]" if score.where else ""
    name = f"{score.name}{part}{where}"
    marks = [mark for mark, of in (("≈", row.cut_short), (UNLIKE, row.unlike)) if name in of]
    return "".join(f"{mark} " for mark in marks)
