"""Our figure beside a published value: found among the scores of a row, in the metric's unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from qpipe.errors import nearest
from qpipe.published.schema import BYTES, PublishedValue
from qpipe.results.comparison import ModelRow
from qpipe.results.measurement import Evaluation, Measurement
from qpipe.results.scores import BYTES as BYTES_UNIT
from qpipe.results.scores import NORMAL_95, Score

SIZE, BPW, PPL_DELTA = "size", "bpw", "ppl_delta"

# How many of the first are one of the second.
_SCALES: Mapping[tuple[str, str], float] = {
    ("", "%"): 100.0,
    ("%", ""): 0.01,
    ("s", "ms"): 1000.0,
    ("nats", ""): 1.0,
    ("", "nats"): 1.0,
    ("", "PPL"): 1.0,
}


class NotThereError(Exception):
    """There is no figure of ours to compare with; the message says why and what to do."""


@dataclass(frozen=True)
class Ours:
    """A figure of ours in the unit of the metric, with its standard error or 95 % interval.

    ``predicted``: from config.json and not measured. ``uncertain`` is what a prediction leaves
    open, ``spread`` half the range of the middle half of rounds.
    """

    value: float
    stderr: float | None = None
    interval: tuple[float, float] | None = None
    predicted: bool = False
    uncertain: float = 0.0
    uncertain_why: str = ""
    spread: float = 0.0
    protocol: str | None = None
    text: str | None = None
    tokens_sha256: str | None = None
    tokens_scored: int | None = None
    by: str | None = None
    machine: str | None = None
    key: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def half_width(self) -> float | None:
        """Half the width of the 95 % interval; None where none is known."""
        if self.interval is not None:
            return (self.interval[1] - self.interval[0]) / 2
        return None if self.stderr is None else NORMAL_95 * self.stderr

    def scaled(self, scale: float) -> Ours:
        """The same in another unit, of which one has ``scale`` of this."""
        low, high = self.interval or (0.0, 0.0)
        return replace(
            self,
            value=self.value * scale,
            stderr=None if self.stderr is None else self.stderr * scale,
            interval=None if self.interval is None else (low * scale, high * scale),
            uncertain=self.uncertain * scale,
            spread=self.spread * scale,
        )


def of_row(value: PublishedValue, row: ModelRow) -> Ours:
    """Our figure of a row for a published value. Raises NotThereError."""
    if value.score in (SIZE, BPW):
        return _size(value, row)
    name, of_difference = value.score, False
    if name == PPL_DELTA:
        name, of_difference = "ppl", True
    score, evaluation = _score(name, row)
    if of_difference and row.reference:  # it came out byte for byte as the reference
        return _measured(Ours(0.0, 0.0), evaluation)
    ours = _difference(value, score) if of_difference else _plain(value, score)
    return _measured(ours, evaluation)


def in_unit(ours: Ours, unit: str, wanted: str | None) -> Ours:
    """A figure in the unit that a table prints. Raises NotThereError for one that it has not."""
    if wanted is None or wanted == unit:
        return ours
    if unit == BYTES_UNIT and wanted in BYTES:
        return ours.scaled(1 / BYTES[wanted])
    if (unit, wanted) in _SCALES:
        return ours.scaled(_SCALES[unit, wanted])
    raise NotThereError(f"the table prints it in {wanted!r}, ours is in {unit or 'no unit'!r}")


def _size(value: PublishedValue, row: ModelRow) -> Ours:
    bits, weights, size = row.bits_per_weight, row.weights, row.size_bytes
    if value.score == BPW:
        if bits is None:
            raise NotThereError("bits per weight are not known of what was made")
        return Ours(bits, key=row.key)
    if value.metric.counts == "tensors":
        size = None if bits is None or weights is None else round(bits * weights / 8)
    if size is None:
        raise NotThereError("the size of its tensors alone is not known of what was made")
    return in_unit(Ours(float(size), key=row.key), BYTES_UNIT, value.metric.unit)


def _score(name: str, row: ModelRow) -> tuple[Score, Evaluation]:
    """The score of that name; where it was measured twice, the one with a difference."""
    there: dict[str, list[tuple[Score, Evaluation]]] = {}
    for each in row.measurements:
        for score in each.measurement.scores:
            there.setdefault(score.key, []).append((score, each))
    if name not in there:
        if not there:
            raise NotThereError("nothing was measured of it: evaluate says what is")
        raise NotThereError(_missing(name, [*there]))
    return max(there[name], key=lambda pair: pair[0].delta is not None)


def _missing(name: str, there: Sequence[str]) -> str:
    """Why a score is missing where others were measured, and what helps."""
    task = name.partition("[")[2]
    same = [other for other in there if task and other.endswith(f"[{task}")]
    if same:
        return f"no score {name!r} was measured: name one of {', '.join(same)} in `of`"
    return f"no score {name!r} was measured ({nearest(name, there)}); {_advice(name)}"


def _advice(name: str) -> str:
    """The override under which a score is measured."""
    base, _, task = name.partition("[")
    if task:
        return f"evaluate=tasks evaluate.tasks=[{task.rstrip(']')}] in overrides measures it"
    if base.startswith(("kld", "rms_dp", "same_top")):
        return "evaluate=kld in overrides measures it"
    if base in ("pp", "tg", "ttft", "peak_rss", "peak_vram"):
        return "evaluate=speed in overrides measures it"
    if base in ("ppl", "word_ppl"):
        return "evaluate=perplexity in overrides measures it"
    return "say in `of` which score of qpipe's it is"


def _plain(value: PublishedValue, score: Score) -> Ours:
    ours = Ours(score.value, score.stderr, score.interval, spread=(score.iqr or 0.0) / 2)
    return in_unit(ours, score.unit, value.metric.unit)


def _difference(value: PublishedValue, score: Score) -> Ours:
    """The difference of perplexities to the reference's, absolute or, in %, relative to that."""
    delta = score.delta
    if delta is None:
        raise NotThereError(
            "its difference to the reference was not measured: the recipe has no run.reference"
        )
    stderr, interval = delta.stderr, None
    if delta.low is not None and delta.high is not None:
        interval = (delta.low, delta.high)
        stderr = (delta.high - delta.low) / 2 / NORMAL_95
    ours = Ours(delta.value, stderr, interval)
    if value.metric.unit == "%":
        return ours.scaled(100 / (score.value - delta.value))
    return in_unit(ours, "", value.metric.unit)


def _measured(ours: Ours, evaluation: Evaluation) -> Ours:
    measurement: Measurement = evaluation.measurement
    return replace(
        ours,
        protocol=measurement.protocol,
        text=measurement.on.text,
        tokens_sha256=measurement.on.tokens_sha256,
        tokens_scored=measurement.on.tokens_scored,
        by=measurement.by,
        machine=evaluation.machine,
        key=evaluation.key,
        notes=measurement.notes or (),
    )
