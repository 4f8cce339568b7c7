"""Figures of quality in the published tables that come with qpipe, by format."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from qpipe.advice.evidence import QualityEvidence, Signature, signature
from qpipe.advice.needs import Metric
from qpipe.published import load
from qpipe.published.formats import read_format
from qpipe.published.load import TableFile
from qpipe.published.schema import PublishedValue
from qpipe.session.reproducing.quantize_fields import NotSimpleError, fields
from qpipe.sizes.known import entries

Known = Mapping[Signature, list[QualityEvidence]]

# Figures by which a base is recognized: rows of the model before quantization.
_UNQUANTIZED = ("none",)


@cache
def published() -> Known:
    """Every figure of quality, by the signature of its format."""
    known: defaultdict[Signature, list[QualityEvidence]] = defaultdict(list)
    for path in load.shipped_tables().values():
        for made, each in of_table(load.load(path)):
            known[made].append(each)
    return known


def of_table(table: TableFile) -> Iterator[tuple[Signature, QualityEvidence]]:
    """The figures of one table: KL divergence as it is printed, perplexity and accuracy relative to
    those of the model before quantization in the same table."""
    values = [v for v in table.values if v.kind == "quality" and v.erratum is None]
    bases = {
        (value.row.model, value.name): float(value.printed.value)
        for value in reversed(values)
        if read_format(value.row.format).base
    }
    for row in _by_row(values):
        made = _signature(row[0])
        if made is not None and made != _UNQUANTIZED:
            yield from ((made, each) for each in _of_row(row, bases, table))


def _by_row(values: Iterable[PublishedValue]) -> Iterator[list[PublishedValue]]:
    rows: defaultdict[int, list[PublishedValue]] = defaultdict(list)
    for value in values:
        rows[value.number].append(value)
    yield from rows.values()


def _of_row(
    row: list[PublishedValue], bases: Mapping[tuple[str | None, str], float], table: TableFile
) -> Iterator[QualityEvidence]:
    """One figure of each metric: of tasks the mean where there is one."""
    told: set[Metric] = set()
    for value in sorted(row, key=lambda each: each.metric.derived != "mean"):
        metric = _metric(value)
        if metric is None or metric in told:
            continue
        figure = float(value.printed.value)
        base = bases.get((value.row.model, value.name))
        if metric != "kld":
            if not base:
                continue
            figure = figure / base - 1 if metric == "ppl" else figure / base
        told.add(metric)
        yield _evidence(value, metric, figure, table)


def _evidence(
    value: PublishedValue, metric: Metric, figure: float, table: TableFile
) -> QualityEvidence:
    printed, source = value.printed, table.table.source
    stderr = float(printed.stderr) if printed.stderr is not None and metric == "kld" else None
    model = value.row.model or ""
    entry = entries().get(model.lower())
    return QualityEvidence(
        metric,
        figure,
        model,
        "published",
        f"{source.document} ({source.date or source.revision or 'undated'})",
        f"{table.name} {model} {value.name}",
        stderr,
        None if entry is None else int(entry["parameters"]),
        any(o.startswith("imatrix=") for o in value.overrides) or bool(value.row.calibration),
        source.date,
    )


def _metric(value: PublishedValue) -> Metric | None:
    if value.score in ("kld", "ppl"):
        return "kld" if value.score == "kld" else "ppl"
    is_mean = value.metric.derived == "mean" and value.metric.better != "lower"
    return "accuracy" if is_mean or value.score.startswith(("acc[", "exact_match")) else None


def _signature(value: PublishedValue) -> Signature | None:
    """The format of a row; None of one that another way of rounding made than its name says."""
    printed = read_format(value.row.format)
    if not any(each.startswith("quantize=") for each in value.row.overrides):
        return None  # what no engine of qpipe makes: its recipe's own format is another
    try:
        section = fields(_recipe(value.row.recipe), value.row.overrides)
    except NotSimpleError:
        return None
    is_type = section.get("method") == "gguf"
    if is_type and (printed.type != section.get("type") or _words(printed.rest)):
        return None
    return signature(section)


def _words(rest: str) -> bool:
    """True if more than bits stand beside the name of a type: ``opt-rtn``, ``AWQ 4-bit``."""
    return any(character.isalpha() for character in rest.upper().replace("GGUF", ""))


def _recipe(name: str | None) -> str:
    return name if name is not None and Path(name).suffix == "" else "local"
