"""A comparison: a row for each model with all that was measured of it, the reference first.

A name such as ``ppl`` stands for one protocol and one set of tokens. Where rows were measured in
two ways, names say theirs: ``ppl[llamacpp-512]`` and ``ppl[llamacpp-512 n_ctx=256]``. What computed
is part of the way only where one model was measured by two backends: ``ppl[llama.cpp]`` and
``ppl[transformers]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from qpipe.errors import EngineMissingError
from qpipe.results import fields
from qpipe.results.measurement import Evaluation
from qpipe.results.scores import Score

if TYPE_CHECKING:
    import pandas

SCHEMA = 1
"""Of run.json; those written before it had a number are read as well."""

# Figures that are of a model and its reference at once.
_DIVERGENCES = ("kld", "same_top_pct", "rms_dp_pct")
_DIFFERENCES = ("_delta", "_delta_low", "_delta_high")

Way = tuple[Any, ...]
"""Protocol, tokens and backend of a measurement."""


@dataclass(frozen=True)
class ModelRow:
    """A model and what was measured of it.

    ``scores`` are all its scores by name; one that was measured in two ways has two names. Of what
    is in ``cut_short`` (names of `figures`) the measurement ended early, for the sake of the row
    ``dominated_by``. ``same_as`` is the name of the row whose file has the same tensors. ``model``
    is what it was made from, ``computed_on`` the device, and what else its bytes hang on there;
    ``unlike`` are the figures that compare it with a reference of other arithmetic; ``file`` is set
    where it is one file, and ``link`` is the same in the run's folder, under a name that says what
    it is.
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
    link: str | None = None
    overrides: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None
    same_as: str | None = None
    measurements: tuple[Evaluation, ...] = ()
    figures: Mapping[str, float | None] = field(default_factory=dict)
    scores: Mapping[str, Score] = field(default_factory=dict)
    cut_short: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    computed_on: Mapping[str, Any] | None = None

    @property
    def path(self) -> str | None:
        """The file or folder that was made; None if none was."""
        return self.file or self.artifact

    @property
    def unsteady(self) -> tuple[str, ...]:
        """The scores whose rounds are spread too far to be trusted."""
        return tuple(name for name, score in self.scores.items() if score.unsteady)

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
        labels = way_labels([row.measurements for row in rows])
        named = [_named(row, labels) for row in rows]
        every = {name: None for one in named for name in one["figures"]}
        return cls(
            tuple(
                replace(row, figures={**every, **one.pop("figures")}, **one)
                for row, one in zip(rows, named, strict=True)
            )
        )

    @property
    def scores(self) -> list[str]:
        """The names of all scores, in the order of tables."""
        every = self.rows[0].figures if self.rows else ()
        names = {name for row in self.rows for name in row.scores}
        return [name for name in every if name in names]

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


def _named(row: ModelRow, labels: Mapping[Way, Mapping[str, str]]) -> dict[str, Any]:
    """The figures of a row, its scores by name, and the names of figures that are cut short or
    unlike: fields of the row."""
    figures: dict[str, float | None] = {}
    scores: dict[str, Score] = {}
    twice: set[str] = set()
    short: list[str] = []
    unlike: list[str] = []
    for each in row.measurements:
        measurement, of_way = each.measurement, labels.get(way(each), {})
        own = fields.figures(measurement.scores, compared=True, labels=of_way)
        figures |= own
        for score in measurement.scores:
            named = fields.labelled(score, of_way)
            twice |= {named.key} & scores.keys()
            scores[named.key] = named
        if measurement.sampling and measurement.sampling.dominated_by:
            short += own
        if each.unlike is not None:
            unlike += [name for name, value in own.items() if value is not None and _beside(name)]
    declared = {score.name: score for score in scores.values()}
    scores |= {key: fields.merged(key, figures, declared) for key in scores if key in twice}
    return {"figures": figures, "scores": scores, "cut_short": tuple(short),
            "unlike": tuple(unlike)}  # fmt: skip


def _beside(name: str) -> bool:
    """Return whether a figure says how far a model is from its reference."""
    own, _ = fields.split(name)
    divergence = own.startswith(_DIVERGENCES) and not own.endswith("_stderr")
    return divergence or own.endswith(_DIFFERENCES)


def way(evaluation: Evaluation) -> Way:
    """The way in which something was measured, equal for what was measured alike.

    Older reports have no digest of the tokens: the text's digest or name takes its place.
    """
    measurement = evaluation.measurement
    subject = measurement.on
    tokens = subject.tokens_sha256 or evaluation.text_digest or subject.text
    return measurement.protocol, tokens, measurement.by


def way_labels(rows: Sequence[Sequence[Evaluation]]) -> Mapping[Way, Mapping[str, str]]:
    """The labels of scores' names, by way and by `Score.key`: none if all rows agree."""
    several: dict[str, dict[Way, str | None]] = {}
    for each in (each for row in rows for each in row):
        for score in each.measurement.scores:
            several.setdefault(score.key, {}).setdefault(way(each), each.measurement.on.text)
    twice = measured_twice(rows)
    labels: dict[Way, dict[str, str]] = {}
    for key, texts in several.items():
        for of, label in _labels(texts, backends=key in twice).items():
            labels.setdefault(of, {})[key] = label
    return labels


def measured_twice(rows: Sequence[Sequence[Evaluation]]) -> set[str]:
    """The keys of scores that some model has twice, by two backends under one protocol and on the
    same tokens."""
    keys = set()
    for row in rows:
        by: dict[tuple[Any, ...], set[Any]] = {}
        for each in row:
            *how, backend = way(each)
            for score in each.measurement.scores:
                by.setdefault((score.key, *how), set()).add(backend)
        keys |= {key for (key, *_), backends in by.items() if len(backends) > 1}
    return keys


def _labels(texts: Mapping[Way, str | None], *, backends: bool) -> dict[Way, str]:
    """The shortest words that tell ways apart: protocol, then text, then the text's digest; and
    with ``backends`` what computed. Empty if there is only one way."""
    how = dict.fromkeys(way[:2] for way in texts)
    words = {} if len(how) == 1 else _words({way[:2]: text for way, text in texts.items()})
    by = _backends([way[2] for way in texts]) if backends else {}
    labels = {way: ", ".join(filter(None, [words.get(way[:2]), by.get(way[2])])) for way in texts}
    return {way: label for way, label in labels.items() if label}


def _words(texts: Mapping[Way, str | None]) -> dict[Way, str]:
    short = {way: str(way[0] or "no protocol") for way in texts}
    named = {way: f"{short[way]}, {text}" for way, text in texts.items()}
    exact = {way: f"{named[way]} {str(way[1])[:6]}" for way in texts}
    for labels in (short, named):
        if len(set(labels.values())) == len(texts):
            return labels
    return exact


def _backends(names: Iterable[str | None]) -> dict[str | None, str]:
    """The names of backends to show: without the version, where that tells them apart."""
    whole = {name: str(name or "unknown backend") for name in names}
    short = {name: words.split(" ")[0] for name, words in whole.items()}
    return short if len(set(short.values())) == len(short) else whole
