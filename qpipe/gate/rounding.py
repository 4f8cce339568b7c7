"""A model beside one that is rounded to the nearest in as many bits, which it has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qpipe.gate.bounds import KLD, PPL
from qpipe.gate.evidence import Evidence, drops_between, rise_between, summed
from qpipe.gate.stored import divergence_sums
from qpipe.gate.verdicts import Worse
from qpipe.gate.window_means import WindowMean
from qpipe.report.reference_difference import made_alike

if TYPE_CHECKING:
    from qpipe.results.comparison import ModelRow
    from qpipe.results.measurement import Evaluation

_METHOD = "rtn"
# Settings that make two models as large: those of both methods are compared.
_SAME = ("bits", "group_size")


def beside_rounding(
    evidence: Evidence,
    rows: Sequence[ModelRow],
    params: Mapping[str, Mapping[str, Any]],
    score: str | None = None,
) -> Worse | None:
    """Return how surely a model is worse than the row of method ``rtn`` that has its bits and group
    size, in pairs; None where there is none, or nothing is kept to compare.

    ``params`` are the settings of nodes by their keys.
    """
    own = _settings(evidence.row, params)
    if own.get("method") == _METHOD or own.get("bits") is None:
        return None
    for row in rows:
        theirs = _settings(row, params)
        if row.model != evidence.row.model or theirs.get("method") != _METHOD:
            continue
        if any(str(own.get(name)) != str(theirs.get(name)) for name in _SAME):
            continue
        other = made_alike(evidence.evaluation, row.measurements)
        p = None if other is None else _p(evidence, other, score)
        if p is not None:
            return Worse(row.name, p)
    return None


def _p(evidence: Evidence, other: Evaluation, score: str | None) -> float | None:
    """The p-value of being no worse than the ``other`` one."""
    one = evidence.evaluation
    if evidence.kind == PPL:
        rise = rise_between(one, other)
        return None if rise is None else rise.p_above(0.0)
    if evidence.kind == KLD:
        further = _further(one, other)
        return None if further is None else further.p_above(0.0)
    drops, _ = drops_between(one, other, score)
    return summed(drops).p_worse if drops else None


def _further(one: Evaluation, other: Evaluation) -> WindowMean | None:
    """The divergence of a model less that of another, on the windows of both."""
    ours, theirs = divergence_sums(one), divergence_sums(other)
    if ours is None or theirs is None or ours.tokens != theirs.tokens:
        return None
    moves = [a - b for a, b in zip(ours.least, theirs.most, strict=True)]
    return WindowMean.of(moves, ours.tokens)


def _settings(row: ModelRow, params: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The settings by which a row was quantized: its node's, else its overrides."""
    if row.key is not None and row.key in params:
        return params[row.key]
    words = (word.partition("=") for word in row.overrides)
    given = {name: value for name, _, value in words}
    settings: dict[str, Any] = {"method": given.get("quantize")}
    return settings | {name: given.get(f"quantize.{name}") for name in _SAME}
