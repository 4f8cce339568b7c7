"""The lines below tables: how rows were measured, what ended early, warnings and failures."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from qpipe.report import numbers
from qpipe.report.alike import grouped, listed
from qpipe.report.columns import NONE_SEEN, REF, UNLIKE, UNSTEADY
from qpipe.report.repeats import SD
from qpipe.results.comparison import ModelRow
from qpipe.results.measurement import Evaluation

if TYPE_CHECKING:
    from qpipe.results.sampling import Rival

_MARKS = {
    REF: "the reference's median in the same rounds, and the median of the ratio to it in each",
    SD: "mean and standard deviation over the seeds below",
    NONE_SEEN: "not distinguishable from no difference, with 95 % confidence",
    UNSTEADY: (
        "the middle half of the rounds is spread over more than 30 % of the median; look at the "
        "ratio to the reference, or measure again while nothing else runs"
    ),
}


def ways(rows: Sequence[ModelRow]) -> Iterator[str]:
    """A line for each way of measuring."""
    yield from dict.fromkeys(_how(*each) for each in _measured(rows) if _rival(each[1]) is None)


def tools(rows: Sequence[ModelRow]) -> Iterator[str]:
    """A line for what computed on which machine, naming what it measured where that differs."""
    by: dict[str, dict[str, None]] = {}
    for _, each in _measured(rows):
        words = "; ".join(filter(None, (each.measurement.by, each.machine)))
        by.setdefault(words, {})[each.metric or each.stage] = None
    alike = len({tuple(of) for of in by.values()}) == 1
    for words, of in by.items():
        if words:
            yield f"by {words}" if alike else f"{', '.join(of)}: by {words}"


def extents(rows: Sequence[ModelRow]) -> Iterator[str]:
    """A line for each row of which a part was measured, as far as no other ended it."""
    for name, each in _measured(rows):
        if each.measurement.sampling and _rival(each) is None:
            yield f"{name}, {each.metric or each.stage}: {each.measurement.sampling.words}"


def remarks(rows: Sequence[ModelRow], marks: Collection[str]) -> Iterator[str]:
    """A line for each level that ended early, each warning, each of the ``marks`` in cells, and
    each failure."""
    for row in rows:
        for measured in row.measurements:
            if by := _rival(measured):
                yield _dominated(row.name, measured, by)
    yield from _unlike(rows)
    notes = _notes_on_rows(rows)
    notes += [note for _, measured in _measured(rows) for note in measured.measurement.notes or ()]
    yield from (f"note: {note}" for note in dict.fromkeys(notes))
    for mark, words in _MARKS.items():
        if mark in marks:
            yield f"{mark}: {words}"
    yield from _failures(rows)


def _unlike(rows: Sequence[ModelRow]) -> Iterator[str]:
    """A line for each pair of arithmetics that rows and their reference differ in."""
    several = len({row.model for row in rows}) > 1
    pairs: dict[str, dict[str, None]] = {}
    for row in rows:
        name = f"{row.model} {row.name}" if several and row.model else row.name
        for each in row.measurements:
            if each.unlike is not None:
                pairs.setdefault(each.unlike, {})[name] = None
    for words, names in pairs.items():
        # Of a reference file by other software no setting changes that.
        remedy = "" if " by " in words else "; evaluate.dtype and evaluate.device compute all alike"
        yield (
            f"{UNLIKE} {', '.join(names)}: computed in {words}: small differences may come of that "
            f"alone{remedy}"
        )


def _measured(rows: Sequence[ModelRow]) -> list[tuple[str, Evaluation]]:
    return [(row.name, m) for row in rows for m in row.measurements if m.measurement.scores]


def _failures(rows: Sequence[ModelRow]) -> Iterator[str]:
    """A line for each cause, with the rows that it is of."""
    several = len({row.model for row in rows}) > 1
    causes: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        if row.error:
            name = f"{row.model} {row.name}" if several and row.model else row.name
            causes.setdefault(row.status, []).append((name, row.error.splitlines()[0]))
    for status, errors in causes.items():
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
