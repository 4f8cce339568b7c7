"""Differences of a model's scores to its reference's, under the same protocol and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qpipe.report.paired_difference import differences
from qpipe.results import windows
from qpipe.results.measurement import Evaluation, Measurement
from qpipe.results.scores import Difference, Score


def compared_with(evaluation: Evaluation, candidates: Sequence[Evaluation]) -> Evaluation:
    """Return the evaluation, its scores with their differences to those of the reference, and how
    its arithmetic differs from that of the reference (`Evaluation.unlike`).

    ``candidates`` are the reference's evaluations. Nothing changes where none was made alike.
    """
    return _compare(evaluation, made_alike(evaluation, candidates))


def made_alike(evaluation: Evaluation, candidates: Sequence[Evaluation]) -> Evaluation | None:
    """Return the evaluation among ``candidates`` that was made in the same way; None without one.

    Of several, one by the same software comes first, then one in the same arithmetic, then one by
    the same backend to the last word, then one of the same metric, then one with a score that is
    compared.
    """
    alike = [other for other in candidates if _way(other) == _way(evaluation)]
    return max(
        alike,
        key=lambda other: (
            _software(other) == _software(evaluation),
            _computed_alike(evaluation.measurement, other.measurement),
            other.measurement.by == evaluation.measurement.by,
            other.metric == evaluation.metric,
            any(score.compared for score in other.measurement.scores),
        ),
        default=None,
    )


def _software(evaluation: Evaluation) -> str:
    """Its name and version, without what stands in brackets."""
    return (evaluation.measurement.by or "").partition(" (")[0]


def _backend(measurement: Measurement) -> str:
    """The software's name alone."""
    return (measurement.by or "").partition(" ")[0]


def _compare(evaluation: Evaluation, reference: Evaluation | None) -> Evaluation:
    measurement = evaluation.measurement
    if reference is None or not measurement.scores:
        return evaluation
    reference_values = {score.key: score.value for score in reference.measurement.scores}
    paired = _paired(evaluation, reference) if reference_values else {}
    scores = tuple(_with_delta(score, reference_values, paired) for score in measurement.scores)
    return replace(
        evaluation,
        measurement=replace(measurement, scores=scores),
        unlike=_unlike(measurement, reference.measurement),
    )


def _computed_alike(ours: Measurement, theirs: Measurement) -> bool:
    """Return whether both are known to be in the same arithmetic."""
    own, other = ours.arithmetic, theirs.arithmetic
    return own is not None and other is not None and own.like(other)


def _unlike(ours: Measurement, theirs: Measurement) -> str | None:
    """Words on both where a model and its reference were not computed alike; None where they were,
    or nothing says it."""
    own, other = ours.arithmetic, theirs.arithmetic
    if theirs.imported is not None and _backend(ours) != _backend(theirs):
        return f"{_words(ours)}, and the reference in {_words(theirs)}"
    if own is None or other is None or _computed_alike(ours, theirs):
        return None
    return f"{own.words}, and the reference in {other.words}"


def _words(measurement: Measurement) -> str:
    """The arithmetic, and by what software: a reference file may be by another."""
    computed = measurement.arithmetic
    return f"{computed.words if computed else 'its types'} by {_backend(measurement)}"


def _paired(evaluation: Evaluation, reference: Evaluation) -> Mapping[str, Difference]:
    """The differences of what was measured item by item, or window by window, on both sides."""
    if evaluation.artifact is None or reference.artifact is None:
        return {}
    folders = Path(evaluation.artifact), Path(reference.artifact)
    if _has_items(evaluation.measurement):
        return differences(*folders)
    ours, theirs = map(windows.read, folders)
    delta = windows.difference(ours, theirs) if ours and theirs else None
    named = {score.name for score in evaluation.measurement.scores} & {*windows.SCORES.values()}
    return {} if delta is None else dict.fromkeys(named, delta)


def _has_items(measurement: Measurement) -> bool:
    """True if a measurement kept its items, which are then compared one by one."""
    return measurement.on.items is not None


def _with_delta(
    score: Score, reference_values: Mapping[str, float], paired: Mapping[str, Difference]
) -> Score:
    if score.key in paired:
        return replace(score, delta=paired[score.key])
    if score.compared and score.delta is None and score.key in reference_values:
        return replace(score, delta=Difference(score.value - reference_values[score.key]))
    return score


def _way(evaluation: Evaluation) -> tuple[Any, ...]:
    measurement = evaluation.measurement
    return measurement.protocol, measurement.on.tokens_sha256 or evaluation.text_digest
