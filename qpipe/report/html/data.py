"""What the page shows of a comparison, as the JSON that base.js reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from qpipe.report import numbers
from qpipe.report.html.front import Point, front
from qpipe.report.html.sensitivity_grid import sensitivity_grid
from qpipe.report.html.tensor_grid import tensor_grid
from qpipe.report.table import RATES
from qpipe.report.text import printable
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.results.losses import TensorLoss
from qpipe.results.measurement import Evaluation
from qpipe.results.scores import BYTES, Score
from qpipe.results.tensors import TensorDetail

# Of a normal distribution, how many standard errors 95 % are to each side.
_STDERRS = 1.96

# The quantiles of a divergence that are shown, by the ends of their scores' names.
_MARKS = {"median": "median", "p99": "99 %", "p99_9": "99.9 %", "max": "max"}

# The kinds of formats by their names, as a chart's colours tell them apart.
_KINDS = (
    (r"F16|BF16|F32|fp16|bf16|fp32", "unquantized"),
    (r"IQ\d.*", "I-quants"),
    (r"Q\d_K.*", "K-quants"),
    (r"Q\d_[01]|Q4_0.*", "Q4_0 … Q8_0"),
)


def document(
    models: Mapping[str, Comparison],
    tensors: Mapping[str, Sequence[TensorDetail]] | None = None,
    losses: Sequence[tuple[str, Sequence[TensorLoss]]] = (),
) -> dict[str, Any]:
    """Return ``{"models", "rows", "scores", "front", "sensitivity"}``: rows by an id, scores by
    their keys, and of each score the ids of the rows on the Pareto front of its model.

    ``tensors`` are those of GGUF files by their artifacts' keys, where they are known; ``losses``
    what tensors lose, by the name of the node that measured them.
    """
    rows = [row for comparison in models.values() for row in comparison.rows]
    keys = dict.fromkeys(key for comparison in models.values() for key in comparison.scores)
    scores = [of for key in keys if (of := _score(key, rows)) is not None]
    numbers = iter(range(len(rows)))
    records = [_row(next(numbers), model, row) for model, of in models.items() for row in of.rows]
    details = [(tensors or {}).get(row.key or "", ()) for of in models.values() for row in of.rows]
    for record, of_row in zip(records, details, strict=True):
        record["tensors"] = tensor_grid(of_row)
    return {
        "models": list(models),
        "rows": records,
        "scores": scores,
        "front": {of["key"]: _front(of, records) for of in scores},
        "sensitivity": [grid for name, of in losses if (grid := sensitivity_grid(name, of))],
    }


def row_id(number: int) -> str:
    """Return the id of the row of that number."""
    return f"r{number}"


def role(score: Score) -> str | None:
    """Return ``quality`` or ``speed`` of a score that a chart can show, None of any other."""
    if score.detail or score.better is None or score.unit == BYTES:
        return None
    return "speed" if score.unit in RATES else "quality"


def _shows(row: ModelRow, key: str) -> bool:
    """Return whether a row has a score that says something of it.

    The divergence of a reference from itself is the noise of how it is stored.
    """
    return key in row.scores and not (row.reference and row.scores[key].name == "kld")


def _score(key: str, rows: Sequence[ModelRow]) -> dict[str, Any] | None:
    every = [row.scores[key] for row in rows if _shows(row, key)]
    if not every:
        return None
    first = every[0]
    if (kind := role(first)) is None:
        return None
    # Divergences of a sweep go over powers of ten.
    log = first.name == "kld" and all(score.value > 0 for score in every)
    return {
        "key": key,
        "label": printable(key),
        "unit": printable(first.unit),
        "better": first.better,
        "role": kind,
        "log": log,
    }


def _row(number: int, model: str, row: ModelRow) -> dict[str, Any]:
    return {
        "id": row_id(number),
        "name": printable(row.name),
        "model": model,
        "kind": _kind(row.format or ""),
        "reference": row.reference,
        "size": row.size_bytes,
        "bpw": row.bits_per_weight,
        "values": {
            key: _value(score)
            for key, score in row.scores.items()
            if role(score) is not None and _shows(row, key)
        },
        "spread": next(filter(None, map(_spread, row.measurements)), None),
    }


def _spread(evaluation: Evaluation) -> dict[str, Any] | None:
    """Distribution of a divergence over tokens: shares by its size, and means by confidence."""
    measured = evaluation.measurement
    if (spread := measured.distribution) is None:
        return None
    scores = {score.name: score.value for score in measured.scores}
    tokens = max(sum(spread.counts), 1)
    lows = (spread.edges[0] / 2, *spread.edges)
    return {
        "bins": [
            {"low": low, "high": high, "share": count / tokens}
            for low, high, count in zip(
                lows, (*spread.edges, spread.edges[-1] * 2), spread.counts, strict=True
            )
        ],
        "marks": {
            name: scores[f"{spread.score}_{of}"]
            for of, name in _MARKS.items()
            if f"{spread.score}_{of}" in scores
        },
        "buckets": [asdict(bucket) for bucket in spread.by_confidence],
    }


def _value(score: Score) -> dict[str, Any]:
    """A score with its 95 % interval, and whether that is of a paired difference, in which what is
    hard for every model is no part."""
    low, high = interval(score)
    return {
        "value": score.value,
        "text": numbers.figure(score.value, unit=score.unit, digits=score.digits),
        "low": low,
        "high": high,
        "paired": score.name == "kld" or bool(score.delta and score.delta.low is not None),
    }


def interval(score: Score) -> tuple[float, float] | tuple[None, None]:
    """Return the 95 % interval of a score: of its paired difference to the reference if there is
    one, else its own, or by its standard error; Nones if it has none of them."""
    delta = score.delta
    if delta is not None and delta.low is not None and delta.high is not None:
        reference = score.value - delta.value
        return reference + delta.low, reference + delta.high
    if score.interval is not None:
        return score.interval
    if score.stderr is not None:
        return score.value - _STDERRS * score.stderr, score.value + _STDERRS * score.stderr
    return None, None


def _kind(name: str) -> str:
    for pattern, kind in _KINDS:
        if re.fullmatch(pattern, name):
            return kind
    return printable(re.split(r"[-\s]", name)[0]) or "other"


def _front(score: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ids of the rows on the front, model after model."""
    points: dict[str, list[Point]] = {}
    for row in rows:
        if row["size"] is not None and score["key"] in row["values"]:
            value = row["values"][score["key"]]["value"]
            points.setdefault(row["model"], []).append(Point(row["id"], row["size"], value))
    return [name for each in points.values() for name in front(each, score["better"])]
