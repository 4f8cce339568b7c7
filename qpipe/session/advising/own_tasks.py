"""Accuracy in tasks that own runs measured, of the model and of what was made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qpipe.advice.evidence import QualityEvidence
from qpipe.results import facts as measured_facts
from qpipe.results.scores import Score

_METRICS = ("acc", "exact_match", "acc_norm")


@dataclass(frozen=True)
class TaskAccuracy:
    """The mean accuracy over tasks, each by its first of acc, exact_match and acc_norm, with its
    standard error. ``alike`` is equal for measurements of the same items in the same way."""

    value: float
    stderr: float | None
    alike: str


def accuracy(facts: Mapping[str, Any]) -> TaskAccuracy | None:
    """The accuracy of a measurement by its manifest's facts; None of one without tasks."""
    measured = measured_facts.measurement(facts)
    scores: dict[str, Score] = {}
    for metric in reversed(_METRICS):
        scores |= {each.where: each for each in measured.scores if each.name == metric}
    if not scores:
        return None
    errors = [each.stderr for each in scores.values() if each.stderr is not None]
    names = " ".join(sorted(f"{each.name}[{where}]" for where, each in scores.items()))
    return TaskAccuracy(
        sum(each.value for each in scores.values()) / len(scores),
        math.hypot(*errors) / len(scores) if len(errors) == len(scores) else None,
        f"{measured.protocol} {measured.on.items} {names}",
    )


def kept(
    of: TaskAccuracy, reference: TaskAccuracy, about: Mapping[str, Any]
) -> QualityEvidence | None:
    """The share of the reference's accuracy that is kept; None where that has none. Its standard
    error takes both for measured on items of their own, and so is rather too large."""
    if reference.value <= 0:
        return None
    error = None
    if of.stderr is not None and reference.stderr is not None:
        error = math.hypot(of.stderr, reference.stderr) / reference.value
    share = of.value / reference.value
    return QualityEvidence("accuracy", share, group=f"accuracy {of.alike}", stderr=error, **about)
