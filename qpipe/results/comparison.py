"""A comparison: a row for each model with all that was measured of it, the reference first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from qpipe.errors import EngineMissingError
from qpipe.results import fields, ways
from qpipe.results.measurement import Evaluation
from qpipe.results.scores import Score

if TYPE_CHECKING:
    import pandas

SCHEMA = 1
"""Of run.json; those written before it had a number are read as well."""


@dataclass(frozen=True)
class ModelRow:
    """A model and what was measured of it.

    ``scores`` are all its scores by name; one that was measured in two ways has two names. Of what
    is in ``cut_short`` (names of `figures`) the measurement ended early, for the sake of the row
    ``dominated_by``. ``model`` is what it was made from; ``file`` is set where it is one file.
    """

    name: str
    format: str | None
    status: str
    reference: bool = False
    model: str | None = None
    size_bytes: int | None = None
    bits_per_weight: float | None = None
    weights: int | None = None
    seconds: float | None = None
    evaluate_seconds: float | None = None
    run: str | None = None
    key: str | None = None
    artifact: str | None = None
    file: str | None = None
    overrides: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None
    measurements: tuple[Evaluation, ...] = ()
    figures: Mapping[str, float | None] = field(default_factory=dict)
    scores: Mapping[str, Score] = field(default_factory=dict)
    cut_short: tuple[str, ...] = ()

    @property
    def path(self) -> str | None:
        """The file or folder that was made; None if none was."""
        return self.file or self.artifact

    @property
    def protocol(self) -> str | None:
        """All protocols under which it was measured."""
        measured = (each.measurement.protocol for each in self.measurements)
        return "; ".join(dict.fromkeys(filter(None, measured))) or None

    @property
    def dominated_by(self) -> str | None:
        """The name of the row for whose sake a measurement ended early."""
        samplings = (each.measurement.sampling for each in self.measurements)
        rivals = (sampling.dominated_by for sampling in samplings if sampling)
        return next((rival.name for rival in rivals if rival), None)


@dataclass(frozen=True)
class Comparison:
    """The ``rows`` of a comparison, references first.

    All have the same `ModelRow.figures`, None where one has none.
    """

    rows: tuple[ModelRow, ...] = ()
    schema: int = SCHEMA

    @classmethod
    def of(cls, rows: Sequence[ModelRow]) -> Comparison:
        """Compare rows, naming the scores of all: never one name for two protocols or texts."""
        labels = ways.labels([row.measurements for row in rows])
        named = [_named(row, labels) for row in rows]
        every = {name: None for figures, *_ in named for name in figures}
        return cls(
            tuple(
                replace(row, figures={**every, **figures}, scores=scores, cut_short=short)
                for row, (figures, scores, short) in zip(rows, named, strict=True)
            )
        )

    @property
    def scores(self) -> list[str]:
        """The names of all scores, in the order of tables."""
        every = self.rows[0].figures if self.rows else ()
        known = {name for row in self.rows for name in row.scores}
        return [name for name in every if name in known]

    def to_pandas(self) -> pandas.DataFrame:
        """Return a frame with a line for each row and a column for each figure.

        Raises EngineMissingError without pandas.
        """
        try:
            import pandas
        except ImportError as error:
            raise EngineMissingError(
                f"a data frame needs pandas ({error}): pip install pandas"
            ) from None
        first = ("name", "model", "format", "reference", "size_bytes", "bits_per_weight", "weights")
        last = ("protocol", "status", "path", "error")

        def figures(row: ModelRow, names: Sequence[str]) -> dict[str, Any]:
            return {name: getattr(row, name) for name in names}

        return pandas.DataFrame(
            [figures(row, first) | {**row.figures} | figures(row, last) for row in self.rows]
        )


def _named(
    row: ModelRow, labels: Mapping[ways.Way, Mapping[str, str]]
) -> tuple[dict[str, float | None], dict[str, Score], tuple[str, ...]]:
    """The figures of a row, its scores by name, and the names of figures cut short."""
    figures: dict[str, float | None] = {}
    scores: dict[str, Score] = {}
    twice: set[str] = set()
    short: list[str] = []
    for each in row.measurements:
        made, of_way = each.measurement, labels.get(ways.way(each), {})
        own = fields.figures(made.scores, compared=True, labels=of_way)
        figures |= own
        for score in made.scores:
            named = fields.labelled(score, of_way)
            twice |= {named.key} & scores.keys()
            scores[named.key] = named
        if made.sampling and made.sampling.dominated_by:
            short += own
    declared = {score.name: score for score in scores.values()}
    scores |= {key: fields.merged(key, figures, declared) for key in scores if key in twice}
    return figures, scores, tuple(short)
