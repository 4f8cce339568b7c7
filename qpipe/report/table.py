"""A comparison as one table, which every format draws, and the lines below it.

Columns are for people, records for programs; the lines say how rows were measured, what ended
early, and give warnings and failures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from qpipe.report import numbers
from qpipe.report.alike import grouped, listed
from qpipe.report.text import printable
from qpipe.results import record
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.results.measurement import Evaluation
from qpipe.results.scores import BYTES, Difference, Score

if TYPE_CHECKING:
    from qpipe.results.sampling import Rival

LEFT, RIGHT = "l", "r"

RATES = ("t/s", "s")
"""The units of scores of speed."""

# Statuses of a row that has all it can have.
_FINE = ("ran", "cached")

# Of a normal distribution, how many standard errors 95 % are to each side.
_STDERRS = 1.96
_NONE_SEEN = "n.s."


class Column(NamedTuple):
    """A heading, the side on which the cells are aligned, and for each row a cell and the number
    that it shows, None where there is none."""

    heading: str
    side: str
    cells: Sequence[str]
    values: Sequence[float | None]


class Table:
    """All parts of a table that a format draws; every word is `printable`, whoever wrote it."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    @property
    def rows(self) -> Sequence[ModelRow]:
        """The rows of the comparison, one for each line."""
        return self.comparison.rows

    @cached_property
    def columns(self) -> Sequence[Column]:
        """The columns as people read them."""
        return [
            each._replace(heading=printable(each.heading), cells=[*map(printable, each.cells)])
            for each in _columns(self.comparison)
        ]

    @property
    def head(self) -> list[str]:
        """The headings of the columns."""
        return [column.heading for column in self.columns]

    @property
    def body(self) -> list[list[str]]:
        """The cells, line by line."""
        return [
            [column.cells[number] for column in self.columns] for number in range(len(self.rows))
        ]

    @property
    def sides(self) -> str:
        """A letter a column, `LEFT` or `RIGHT`."""
        return "".join(column.side for column in self.columns)

    @cached_property
    def footnotes(self) -> Sequence[str]:
        """The lines below the table: how rows were measured, and what is to be known of them."""
        return [*map(printable, footnotes(self.rows))]

    @cached_property
    def records(self) -> Sequence[Mapping[str, Any]]:
        """The rows as programs read them, with every field."""
        return record.rows(self.comparison)


def by_model(comparison: Comparison) -> dict[str, Comparison]:
    """Split a comparison by the models that rows were made from; '' where no run says it.

    Texts and protocols of one model stand for themselves: scores have no names that tell them from
    another model's.
    """
    rows: dict[str, list[ModelRow]] = {}
    for row in comparison.rows:
        rows.setdefault(printable(row.model or ""), []).append(row)
    return {model: Comparison.of(of_model) for model, of_model in rows.items()}


def _columns(comparison: Comparison) -> Iterator[Column]:
    rows = comparison.rows
    names = [row.name for row in rows]
    if names != [row.format for row in rows]:
        yield _words("name", names)
    yield _words("format", [row.format for row in rows])
    yield _numbers("size", [row.size_bytes for row in rows], numbers.size)
    yield _numbers("bpw", [row.bits_per_weight for row in rows], lambda v: f"{v:.3f}")
    for key in sorted(comparison.scores, key=lambda key: _rank(key, rows)):
        yield from _of_score(key, rows)
    ends = [row.status if row.status not in _FINE else "" for row in rows]
    if any(ends):
        yield _words("status", ends)


def _rank(key: str, rows: Sequence[ModelRow]) -> int:
    """The place of a score's columns: quality, then speed, then memory."""
    score = next(row.scores[key] for row in rows if key in row.scores)
    return 2 if score.unit == BYTES else int(score.unit in RATES)


def _words(heading: str, values: Sequence[str | None]) -> Column:
    return Column(heading, LEFT, [value or "" for value in values], [None] * len(values))


def _numbers(heading: str, values: Sequence[float | None], show: Callable[[float], str]) -> Column:
    cells = ["" if value is None else show(value) for value in values]
    return Column(heading, RIGHT, cells, values)


def _of_score(key: str, rows: Sequence[ModelRow]) -> Iterator[Column]:
    """The columns of a score: itself, and its difference and ratio to the reference's."""
    every = [row.scores.get(key) for row in rows]
    scores = [score for score in every if score is not None]
    first = scores[0]
    if first.detail:
        return
    where = f" [{first.where}]" if first.where else ""

    def column(
        heading: str, draw: Callable[[ModelRow, Score], str], value: Callable[[Score], float | None]
    ) -> Column:
        cells = [draw(row, of) if of else "" for row, of in zip(rows, every, strict=True)]
        return Column(
            f"{heading}{where}", RIGHT, cells, [value(of) if of else None for of in every]
        )

    yield column(_heading(scores), _value, lambda of: of.value)
    if any(score.compared or score.delta for score in scores):
        yield column(f"Δ {first.name}", _delta, lambda of: of.delta.value if of.delta else None)
    if any(score.ratio is not None for score in scores):
        yield column(f"{first.name} / reference", _ratio, lambda of: of.ratio)


def _heading(scores: Sequence[Score]) -> str:
    """The heading of a score's column, with the unit and what is beside the figure."""
    first = scores[0]
    title = first.heading or " ".join(filter(None, [first.name, numbers.named(first.unit)]))
    if any(score.stderr is not None for score in scores):
        return f"{title} ± stderr"
    if any(score.interval for score in scores):
        return f"{title} [95 %]"
    return f"{title} (IQR)" if any(score.iqr is not None for score in scores) else title


def _value(row: ModelRow, score: Score) -> str:
    def number(value: float) -> str:
        return numbers.figure(value, unit=score.unit, digits=score.digits)

    shown = _about(row, score, "") + number(score.value)
    if score.stderr is not None:
        return f"{shown} ± {number(score.stderr)}"
    if score.interval is not None:
        return f"{shown} [{number(score.interval[0])}, {number(score.interval[1])}]"
    return shown if score.iqr is None else f"{shown} ({number(score.iqr)})"


def _delta(row: ModelRow, score: Score) -> str:
    """The difference to the reference, with its 95 % interval or standard error where there is one;
    else in percent of the reference too."""
    delta = score.delta
    if delta is None:
        return ""

    def signed(value: float) -> str:
        return numbers.signed(value, unit=score.unit, digits=score.digits)

    seen = "" if _is_seen(delta) else f" {_NONE_SEEN}"
    if delta.low is not None and delta.high is not None:
        return f"{signed(delta.value)} [{signed(delta.low)}, {signed(delta.high)}]{seen}"
    if delta.stderr is not None:
        about = _about(row, score, "_delta")
        stderr = numbers.figure(delta.stderr, unit=score.unit, digits=score.digits)
        return f"{about}{signed(delta.value)} ± {stderr}{seen}"
    reference = score.value - delta.value
    percent = f" ({numbers.percent(delta.value / reference)})" if reference else ""
    return f"{signed(delta.value)}{percent}"


def _is_seen(delta: Difference) -> bool:
    """Return whether a difference can be told from none, with 95 % confidence; True where nothing
    says how exact it is."""
    if delta.low is not None and delta.high is not None:
        return not delta.low <= 0 <= delta.high
    return delta.stderr is None or abs(delta.value) > _STDERRS * delta.stderr


def _ratio(row: ModelRow, score: Score) -> str:
    return "" if score.ratio is None else f"{score.ratio:.2f} ×"


def _about(row: ModelRow, score: Score, part: str) -> str:
    """The mark of a figure that is an estimate, since its measurement ended early; else nothing."""
    where = f"[{score.where}]" if score.where else ""
    return "≈ " if f"{score.name}{part}{where}" in row.cut_short else ""


def footnotes(rows: Sequence[ModelRow]) -> Iterator[str]:
    """A line for each way of measuring, each level that ended early, each warning and failure."""
    named = [(row.name, m) for row in rows for m in row.measurements if m.measurement.scores]
    yield from dict.fromkeys(_how(*each) for each in named if _rival(each[1]) is None)
    for row in rows:
        for measured in row.measurements:
            if by := _rival(measured):
                yield _dominated(row.name, measured, by)
    notes = _notes_on_rows(rows)
    notes += [note for _, measured in named for note in measured.measurement.notes or ()]
    yield from (f"note: {note}" for note in dict.fromkeys(notes))
    deltas = [score.delta for row in rows for score in row.scores.values() if score.delta]
    if not all(map(_is_seen, deltas)):
        yield f"{_NONE_SEEN}: not distinguishable from no difference, with 95 % confidence"
    for status in dict.fromkeys(row.status for row in rows if row.error):
        errors = [(r.name, r.error.splitlines()[0]) for r in rows if r.error and r.status == status]
        for names, reason in grouped(errors):
            yield f"{status}: {listed(names)}: {reason}"


def _notes_on_rows(rows: Sequence[ModelRow]) -> list[str]:
    """The notes of rows; of one that is not about every model, with the names of its models."""
    models: dict[str, dict[str, None]] = {}
    for row in rows:
        for note in row.notes:
            models.setdefault(note, {})[row.model or ""] = None
    every = {row.model or "" for row in rows}
    return [
        note if of.keys() == every else f"{', '.join(filter(None, of))}: {note}".removeprefix(": ")
        for note, of in models.items()
    ]


def _rival(measured: Evaluation) -> Rival | None:
    sampling = measured.measurement.sampling
    return sampling.dominated_by if sampling else None


def _dominated(name: str, measured: Evaluation, by: Rival) -> str:
    sampling = measured.measurement.sampling
    assert sampling is not None and sampling.interval is not None
    low, high = sampling.interval
    better = f"{numbers.figure(by.difference)} nats a token"
    surely = f"{numbers.figure(by.difference_at_least)} or more with {by.confidence:.0%} confidence"
    return (
        f"≈ {name}, {measured.metric}: {sampling.words} as dominated by "
        f"{by.name}, which is no larger and better by {better} ({surely}); its scores are "
        f"estimates, kld from {numbers.figure(low)} to {numbers.figure(high)} (95%)"
    )


def _how(name: str, measured: Evaluation) -> str:
    """The way in which a row was measured, in words.

    They are the same for all models, but for one that was measured on a part of the text.
    """
    measurement = measured.measurement
    sampling = measurement.sampling.words if measurement.sampling else ""
    of = f"{name}, " if sampling else ""
    words = [f"{of}{measured.metric or measured.stage}: {measurement.protocol or ''}"]
    if measurement.on.text:
        words[0] += f" on {measurement.on.text}"
    if sampling:
        words.append(sampling)
    elif measurement.on.tokens_scored:
        words.append(f"{measurement.on.tokens_scored:,} tokens scored")
    if measurement.on.items:
        words.append(f"{measurement.on.items:,} items; Δ with its 95 % interval, item by item")
    if measured.metric == "logprobs":
        noise = (s.value for s in measurement.scores if s.name == "kld_noise")
        words += [f"the reference's own noise is kld {numbers.figure(value)}" for value in noise]
    words += [each for each in (measurement.by, measured.machine) if each]
    return "; ".join(words)
