"""What stands below a table: how rows were measured, what ended early, warnings, failures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qpipe.report.numbers import figure
from qpipe.results.comparison import ModelRow
from qpipe.results.measurement import Evaluation, Rival


def footnotes(rows: Sequence[ModelRow]) -> Iterator[str]:
    """A line for each way of measuring, each level that ended early, each warning and failure."""
    named = [(row.name, m) for row in rows for m in row.measurements if m.measurement.scores]
    yield from dict.fromkeys(_how(*each) for each in named if _rival(each[1]) is None)
    for row in rows:
        for measured in row.measurements:
            if by := _rival(measured):
                yield _dominated(row.name, measured, by)
    notes = [note for row in rows for note in row.notes]
    notes += [note for _, measured in named for note in measured.measurement.notes or ()]
    yield from (f"note: {note}" for note in dict.fromkeys(notes))
    for row in rows:
        if row.error:
            yield f"{row.status}: {row.name}: {row.error.splitlines()[0]}"


def _rival(measured: Evaluation) -> Rival | None:
    sampling = measured.measurement.sampling
    return sampling.dominated_by if sampling else None


def _dominated(name: str, measured: Evaluation, by: Rival) -> str:
    sampling = measured.measurement.sampling
    assert sampling is not None and sampling.interval is not None
    low, high = sampling.interval
    better = f"{figure(by.difference)} nats a token"
    surely = f"{figure(by.difference_at_least)} or more with {by.confidence:.0%} confidence"
    return (
        f"≈ {name}, {measured.metric}: {sampling.words} as dominated by "
        f"{by.name}, which is no larger and better by {better} ({surely}); its scores are "
        f"estimates, kld from {figure(low)} to {figure(high)} (95%)"
    )


def _how(name: str, measured: Evaluation) -> str:
    """The way in which a row was measured, in words.

    They are the same for all models, but for one that was measured on a part of the text.
    """
    made = measured.measurement
    sampling = made.sampling.words if made.sampling else ""
    of = f"{name}, " if sampling else ""
    words = [f"{of}{measured.metric or measured.stage}: {made.protocol or ''}"]
    if made.on.text:
        words[0] += f" on {made.on.text}"
    if sampling:
        words.append(sampling)
    elif made.on.tokens_scored:
        words.append(f"{made.on.tokens_scored:,} tokens scored")
    if made.on.items:
        words.append(f"{made.on.items:,} items; Δ with its 95 % interval, item by item")
    if measured.metric == "logprobs":
        words.append("its kld is the reference's own noise")
    words += [each for each in (made.by, measured.machine) if each]
    return "; ".join(words)
