"""A table of published results: its source, how each metric was measured, rows, values.

Numbers are kept as they were printed (`Decimal`): 6.10 was rounded to hundredths, 6.1 to tenths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

SCHEMA = 1

Kind = Literal["sizes", "quality", "speed"]
KINDS: tuple[Kind, ...] = ("sizes", "quality", "speed")

Derivation = Literal["difference", "ratio", "percent", "change", "mean"]
"""How a value was computed from others: value - base, value / base, the same in percent, the change
in percent, the mean of several."""

_SIZES = frozenset({"size", "bpw"})
_SPEEDS = frozenset({"pp", "tg", "ttft", "peak_rss", "peak_vram", "seconds"})

_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20}
BYTES: Mapping[str, int] = {**_BYTES, "GiB": 1 << 30}
"""Units of sizes, in bytes."""

_MOST_EXPONENT = 30

Number = Annotated[Decimal, Field(allow_inf_nan=False)]
"""A number with the digits that were printed."""


def _check_range(*numbers: Decimal | None) -> None:
    """Raise ValueError for numbers that floats round to infinity or 0: within the rounding of
    1e400 would be anything."""
    for number in numbers:
        last = 0 if number is None else number.as_tuple().exponent
        first = 0 if number is None else number.adjusted()
        if not isinstance(last, int) or max(abs(last), abs(first)) > _MOST_EXPONENT:
            raise ValueError(
                f"{number} is not right: digits lie between 1e-{_MOST_EXPONENT} and "
                f"1e{_MOST_EXPONENT}"
            )


class TablePart(BaseModel):
    """Base of all parts of a table: no unknown fields, no NaN, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Source(TablePart):
    """The document in which a table was printed."""

    document: str = Field(min_length=1, description="The document's name, with the table's.")
    revision: str | None = Field(
        description="What fixes its text: a commit, the version of a paper, a release. null: it "
        "has none, and says something else tomorrow."
    )
    url: str | None = Field(None, description="Its address.")
    date: str | None = Field(None, description="When it was published, or read: YYYY[-MM[-DD]].")
    authors: str | None = Field(None, description="Who wrote it, for a citation.")
    note: str | None = Field(None, description="What else a reader should know.")

    @model_validator(mode="after")
    def _dated(self) -> Source:
        if self.date is not None and not _is_day(self.date):
            raise ValueError(f"there is no date {self.date!r} (YYYY, YYYY-MM or YYYY-MM-DD)")
        return self


def _is_day(text: str) -> bool:
    """True for YYYY, YYYY-MM and YYYY-MM-DD of days that there are."""
    form = {4: "%Y", 7: "%Y-%m", 10: "%Y-%m-%d"}.get(len(text))
    try:
        return form is not None and bool(datetime.strptime(text, form))
    except ValueError:
        return False


class Erratum(TablePart):
    """An error in the source: the rows concerned (as `--rows` takes them), and what is wrong."""

    says: str = Field(min_length=1, description="What is wrong, and how one knows.")
    rows: str | None = Field(None, description="Which rows, as --rows takes them. null: the table.")
    metric: str | None = Field(
        None,
        description="The metric whose values are wrong, which are then compared with nothing. "
        "null: none is, or it is not known which.",
    )
    kind: str | None = Field(
        None, description="Which finding of --lint it is: missing_row, copied_speeds, … null: any."
    )


class Tolerance(TablePart):
    """A known spread beside rounding and standard errors, and where it comes from."""

    why: str = Field(min_length=1, description="What spreads, and who measured it.")
    absolute: Number | None = Field(None, ge=0, description="Half its width in the metric's unit.")
    relative: Number | None = Field(None, ge=0, description="Half its width, 0.01 being 1 %.")

    @model_validator(mode="after")
    def _one(self) -> Tolerance:
        if (self.absolute is None) == (self.relative is None):
            raise ValueError("a tolerance is either absolute or relative")
        _check_range(self.absolute, self.relative)
        return self


class Metric(TablePart):
    """The way in which the values of one name were measured.

    ``of`` is the score of qpipe's that is the same: size, bpw, ppl, word_ppl, kld, kld_median,
    ppl_delta, rms_dp_pct, same_top_pct, acc[TASK], pp, tg, …; by default the metric's own name.
    """

    of: str | None = Field(None, description="The score of qpipe's that is the same.")
    kind: Kind | None = Field(None, description="sizes, quality or speed. null: as `of` says.")
    unit: str | None = Field(None, description="GiB, GB, t/s, s, %, … null: the score's own.")
    counts: Literal["file", "tensors"] | None = Field(
        None, description="Of a size: the whole file, or its tensors alone, as llama-bench shows."
    )
    better: Literal["lower", "higher"] | None = Field(None, description="Which way is better.")
    protocol: str | None = Field(
        None, description="The protocol of `qpipe settings evaluate` that was followed, by name."
    )
    text: str | None = Field(None, description="What it was measured on, in words.")
    tokens_sha256: str | None = Field(
        None, description="The digest of the tokens: with it, sampling errors are shared."
    )
    harness: str | None = Field(None, description="What measured it, with its version.")
    hardware: str | None = Field(None, description="On what, where it matters.")
    overrides: tuple[str, ...] = Field((), description="What qpipe needs to measure it alike.")
    tolerances: tuple[Tolerance, ...] = Field((), description="Known spreads.")
    not_comparable: str | None = Field(
        None, description="Why no figure of qpipe's can be set beside it."
    )
    derived: Derivation | None = Field(
        None,
        description="How it was computed from `parts`, the base being the model before "
        "quantization: difference, ratio, percent (100 value / base), change (in percent), mean.",
    )
    parts: tuple[str, ...] = Field((), description="The metrics from which it was computed.")

    @model_validator(mode="after")
    def _sized(self) -> Metric:
        if self.counts is not None and self.of not in (None, "size"):
            raise ValueError("counts says what a size is of")
        return self

    @model_validator(mode="after")
    def _derived(self) -> Metric:
        if (self.derived is None) != (not self.parts):
            raise ValueError("derived says how it was computed, parts from which metrics")
        if self.derived is not None and (self.derived == "mean") != (len(self.parts) > 1):
            raise ValueError("a mean has several parts, all else that is derived has one")
        return self


class Printed(TablePart):
    """One value with what was printed beside it."""

    value: Number
    stderr: Number | None = Field(None, ge=0, description="Its standard error.")
    interval: tuple[Number, Number] | None = Field(None, description="Its 95 % interval.")
    note: str | None = Field(None, description="What else was said of it.")
    hardware: str | None = Field(None, description="On what, where values differ in it.")
    tolerances: tuple[Tolerance, ...] = Field((), description="Known spreads of this value.")
    not_comparable: str | None = Field(None, description="Why not, of this value alone.")

    @model_validator(mode="after")
    def _ordered(self) -> Printed:
        _check_range(self.value, self.stderr, *(self.interval or ()))
        if self.interval is not None and not self.interval[0] <= self.value <= self.interval[1]:
            raise ValueError("the value is not in its interval")
        return self


def _bare(value: object) -> object:
    """``9.14`` → ``{value: 9.14}``."""
    return value if isinstance(value, (Mapping, Printed)) else {"value": value}


Value: TypeAlias = Annotated[Printed, BeforeValidator(_bare)]


class Conditions(TablePart):
    """The conditions that a row may name, or the table for all of its rows."""

    model: str | None = Field(
        None, description="OWNER/NAME on the hub, or a path from the table's folder."
    )
    revision: str | None = Field(None, description="The model's commit.")
    config: str | None = Field(
        None,
        description="config.json for its sizes: a path from the table's folder. null: the "
        "model's own, or the shapes that qpipe knows of it.",
    )
    engine: str | None = Field(None, description="What quantized it, as it was called.")
    version: str | None = Field(None, description="The engine's version.")
    hardware: str | None = Field(None, description="On what, where it matters.")
    calibration: str | None = Field(None, description="Calibration data, in words.")
    recipe: str | None = Field(
        None,
        description="The recipe that reproduces it: a name, or a path from the table's folder.",
    )
    overrides: tuple[str, ...] = Field((), description="Overrides of the recipe.")
    not_comparable: str | None = Field(None, description="Why nothing of it can be compared.")
    not_comparable_of: tuple[Kind, ...] = Field(
        (), description="Of which kinds of figures that holds: sizes, quality, speed. []: of all."
    )
    note: str | None = Field(None, description="What else a reader should know.")


class Row(Conditions):
    """A model in a format, and what was found of it, by metric."""

    format: str = Field(min_length=1, description="The format as the source prints it.")
    values: dict[str, Value] = Field(min_length=1, description="Values by metric.")


class PublishedTable(TablePart):
    """A table of published results."""

    schema_: Literal[1] = Field(alias="schema", description="The version of this form: 1.")
    title: str = Field(min_length=1, description="What the table shows.")
    source: Source
    note: str | None = Field(None, description="What a reader should know of the whole.")
    errata: tuple[Erratum, ...] = Field((), description="Errors in the source.")
    metrics: dict[str, Metric] = Field(min_length=1, description="How each metric was measured.")
    shared: Conditions = Field(Conditions(), description="What rows are where they do not say.")
    rows: tuple[Row, ...] = Field(min_length=1, description="The rows, in the source's order.")

    @model_validator(mode="before")
    @classmethod
    def _versioned(cls, data: Any) -> Any:
        """Numbers come as they were written, and this one is a number."""
        if isinstance(data, Mapping) and data.get("schema") == str(SCHEMA):
            return {**data, "schema": SCHEMA}
        return data


@dataclass(frozen=True)
class PublishedValue:
    """One value of a table with all that holds of it: ``number`` of its row, counted from 1, the
    row completed by what the table shares, its metric, and the erratum that calls it wrong."""

    number: int
    row: Row
    name: str
    metric: Metric
    printed: Printed
    erratum: str | None = None

    @property
    def score(self) -> str:
        """The score of qpipe's that is the same, as far as there is one."""
        return self.metric.of or self.name

    @property
    def kind(self) -> Kind:
        """Return what it is a figure of."""
        return kind_of(self.name, self.metric)

    @property
    def recipe(self) -> str | None:
        """The recipe that reproduces it."""
        return self.row.recipe

    @property
    def overrides(self) -> tuple[str, ...]:
        """The overrides of that recipe: the row's and the metric's."""
        return (*self.row.overrides, *self.metric.overrides)

    @property
    def not_comparable(self) -> str | None:
        """Why nothing of ours can be set beside it, as far as the table says so."""
        kinds = self.row.not_comparable_of or KINDS
        row = self.row.not_comparable if self.kind in kinds else None
        wrong = f"an error of the source: {self.erratum}" if self.erratum else None
        return self.printed.not_comparable or row or self.metric.not_comparable or wrong

    @property
    def hardware(self) -> str | None:
        """On what it was measured."""
        return self.printed.hardware or self.row.hardware or self.metric.hardware

    @property
    def rounding(self) -> Decimal:
        """Half a unit of the last digit that was printed."""
        exponent = self.printed.value.as_tuple().exponent
        return Decimal(5).scaleb(exponent - 1) if isinstance(exponent, int) else Decimal(0)


def kind_of(name: str, metric: Metric) -> Kind:
    """Return what a metric is a figure of: as it says, else by the score that it is."""
    if metric.kind is not None:
        return metric.kind
    score = (metric.of or name).partition("[")[0]
    return "sizes" if score in _SIZES else "speed" if score in _SPEEDS else "quality"


def values(table: PublishedTable) -> Iterator[PublishedValue]:
    """Every value of a table, row by row."""
    shared = table.shared.model_dump(exclude_defaults=True)
    for number, row in enumerate(table.rows, 1):
        own = row.model_dump(exclude_defaults=True, exclude={"values"})
        both = {**shared, **own, "overrides": (*table.shared.overrides, *row.overrides)}
        completed = row.model_copy(update=both)
        for name, printed in row.values.items():
            yield PublishedValue(number, completed, name, table.metrics[name], printed)


def json_schema() -> dict[str, Any]:
    """JSON Schema of a table, which is shipped as table.schema.json beside this file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **PublishedTable.model_json_schema(),
    }
