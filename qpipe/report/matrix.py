"""Several models at the same levels: one table of levels by models, of the score that all have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from qpipe.report import numbers
from qpipe.report.blocks import Block, beside
from qpipe.report.columns import (
    LEFT,
    MORE,
    NAMES,
    NONE_SEEN,
    RIGHT,
    UNLIKE,
    Column,
    is_seen,
    noise_of,
)
from qpipe.report.text import printable
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.results.scores import Score


@dataclass(frozen=True)
class _Loss:
    """The score by which models are compared: its key, and what a table of it is called."""

    key: str
    caption: str

    def cell(self, row: ModelRow, rows: Sequence[ModelRow]) -> str:
        """The loss of a row, marked where it is not distinguishable from none."""
        score = row.scores.get(self.key)
        if score is None:
            return ""
        if row.same_as in {other.name for other in rows if self.key in other.scores}:
            return f"= {row.same_as}"
        field = self.key if score.name == "kld" else _delta_of(self.key)
        shown = f"{UNLIKE} {_loss(score)}" if field in row.unlike else _loss(score)
        seen = is_seen(score, noise_of(score, rows))
        return shown if seen or not shown else f"{shown} {NONE_SEEN}"


def matrix(models: Mapping[str, Comparison], *, width: int | None = None) -> list[Block]:
    """The blocks of a table of levels by models; none of one model, or of models that have no level
    and no score in common."""
    loss = next(_losses([*models.values()]), None) if len(models) > 1 else None
    if loss is None:
        return []
    cells = {
        model: {row.name: loss.cell(row, of.rows) for row in of.rows if not row.reference}
        for model, of in models.items()
    }
    names = list(dict.fromkeys(name for by_name in cells.values() for name in by_name))
    if not any(sum(bool(of.get(name)) for of in cells.values()) > 1 for name in names):
        return []
    nothing = [None] * len(names)
    columns = [Column("level", LEFT, [*map(printable, names)], nothing, None, NAMES)]
    for model, by_name in cells.items():
        shown = [printable(by_name.get(name, "")) for name in names]
        columns.append(Column(printable(model), RIGHT, shown, nothing, None, MORE))
    parts = enumerate(beside(columns, width))
    return [Block("" if number else loss.caption, part, frozenset()) for number, part in parts]


def _losses(models: Sequence[Comparison]) -> Iterator[_Loss]:
    """The scores that several models can be compared by, the best first: their divergence, else a
    difference to the reference."""
    shared = [
        key
        for key in dict.fromkeys(key for of in models for key in of.scores)
        if sum(key in of.scores for of in models) > 1
    ]
    if "kld" in shared:
        yield _Loss("kld", "all models: kld")
    for key in shared:
        scores = [row.scores[key] for of in models for row in of.rows if key in row.scores]
        if any(score.delta for score in scores):
            unit = "" if scores[0].unit == "%" else " in % of the reference's"
            yield _Loss(key, f"all models: Δ {printable(key)}{unit}")


def _delta_of(key: str) -> str:
    """The name of the figure that is a score's difference to the reference's."""
    name, bracket, where = key.partition("[")
    return f"{name}_delta{bracket}{where}"


def _loss(score: Score) -> str:
    if score.name == "kld":
        return numbers.figure(score.value)
    if score.delta is None:
        return ""
    reference = score.value - score.delta.value
    if score.unit == "%" or not reference:
        return numbers.signed(score.delta.value, unit=score.unit, digits=score.digits)
    return numbers.percent(score.delta.value / reference)
