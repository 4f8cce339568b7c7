"""Rows as plain data, as run.json and reports in JSON and CSV have them, and back.

``run.schema.json`` beside this file describes run.json. Reading takes what
`qpipe.report.runs` has looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qpipe.results import arithmetic, facts, fields
from qpipe.results.comparison import Comparison, ModelRow
from qpipe.results.measurement import Evaluation, Measurement, Subject
from qpipe.results.scores import Score, score


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """A record for each row, with the same fields in the same order."""
    runs = any(row.run is not None for row in comparison.rows)
    return [_row(row, run=runs) for row in comparison.rows]


def _row(row: ModelRow, *, run: bool) -> dict[str, Any]:
    """The record of a row; ``run`` is among its fields where rows are of several runs."""
    return {
        "name": row.name,
        "format": row.format,
        "reference": row.reference,
        "size_bytes": row.size_bytes,
        "bits_per_weight": row.bits_per_weight,
        "weights": row.weights,
        **row.figures,
        "dominated_by": row.dominated_by,
        "cut_short": [*row.cut_short],
        "unsteady": [*row.unsteady],
        "unlike": [*row.unlike],
        "computed_on": None if row.computed_on is None else {**row.computed_on},
        "same_as": row.same_as,
        "protocol": row.protocol,
        "seconds": row.seconds,
        "evaluate_seconds": row.evaluate_seconds,
        "status": row.status,
        **({"run": row.run} if run else {}),
        "key": row.key,
        "artifact": row.artifact,
        "file": row.file,
        "link": row.link,
        "overrides": [*row.overrides],
        "notes": [*row.notes],
        "error": row.error,
        "measurements": [_evaluation(each) for each in row.measurements],
        "model": row.model,
        "path": row.path,
    }


def _evaluation(each: Evaluation) -> dict[str, Any]:
    measurement, sampling = each.measurement, each.measurement.sampling
    spread, computed = measurement.distribution, measurement.arithmetic
    interval, by = (sampling.interval, sampling.dominated_by) if sampling else (None, None)
    return {
        "stage": each.stage,
        "metric": each.metric,
        "status": each.status,
        "key": each.key,
        "artifact": each.artifact,
        "arithmetic": computed and arithmetic.to_record(computed),
        "backend": measurement.by,
        "dominated_by": by and facts.rival(by),
        "interval": interval and [*interval],
        "items": measurement.on.items,
        "notes": None if measurement.notes is None else [*measurement.notes],
        "protocol": measurement.protocol,
        "sampling": sampling and sampling.words,
        "seconds": each.seconds,
        "text": measurement.on.text,
        "tokens": measurement.on.tokens,
        "tokens_per_second": measurement.tokens_per_second,
        "tokens_scored": measurement.on.tokens_scored,
        "tokens_sha256": measurement.on.tokens_sha256,
        "text_digest": each.text_digest,
        "unlike": each.unlike,
        "machine": each.machine,
        "scores": fields.figures(measurement.scores, compared=True),
        "score_types": fields.declarations(measurement.scores),
        **({} if measurement.imported is None else {"imported": {**measurement.imported}}),
        **({} if spread is None else {"distribution": facts.distribution_record(spread)}),
    }


def row(record: Mapping[str, Any], *, run: str | None = None) -> ModelRow:
    """Read a row of run.json; its scores are not named yet (`Comparison.of`)."""
    same = (
        *("name", "format", "status", "reference", "model", "size_bytes", "bits_per_weight"),
        *("weights", "seconds", "evaluate_seconds", "key", "artifact", "file", "link", "error"),
        "same_as",
    )
    return ModelRow(
        computed_on=record.get("computed_on"),
        **{name: record[name] for name in same},
        run=run,
        overrides=tuple(record["overrides"] or ()),
        notes=tuple(record["notes"] or ()),
        measurements=tuple(map(evaluation, record["measurements"])),
    )


def evaluation(record: Mapping[str, Any]) -> Evaluation:
    """Read a measurement of run.json; one without ``score_types`` is older than they are."""
    types = record["score_types"]
    declared = {name: fields.declaration(of) for name, of in types.items()} if types else None
    measurement = Measurement(
        protocol=record["protocol"],
        scores=_with_noise(record["metric"], fields.scores(record["scores"], declared)),
        on=Subject(
            text=record["text"],
            tokens=record["tokens"],
            tokens_scored=record["tokens_scored"],
            tokens_sha256=record["tokens_sha256"],
            items=record["items"],
        ),
        by=record["backend"],
        sampling=facts.sampling(record),
        notes=None if record["notes"] is None else tuple(record["notes"]),
        tokens_per_second=record["tokens_per_second"],
        distribution=facts.distribution(record),
        arithmetic=arithmetic.read(record),
    )
    same = ("stage", "metric", "status", "key", "artifact", "seconds", "text_digest", "machine")
    own = {name: record[name] for name in same}
    return Evaluation(measurement=measurement, unlike=record.get("unlike"), **own)


def _with_noise(metric: str | None, scores: Sequence[Score]) -> tuple[Score, ...]:
    """The scores of a measurement, a reference's noise under the name that it has today."""
    if metric != "logprobs":
        return tuple(scores)
    return tuple(score("kld_noise", s.value) if s.name == "kld" else s for s in scores)
