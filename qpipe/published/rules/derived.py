"""Values that were computed from others, and contradict them: differences, ratios, means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qpipe.published.rules.survey import (
    SHARES,
    Contradiction,
    Interval,
    Survey,
    SurveyRow,
    agreement,
    interval,
    overlap,
    widened,
)
from qpipe.published.schema import Derivation, Metric

# How many units of the last digit a larger format is from the base, that a smaller one is not there
# by chance. Perplexities of formats are ordered; shares of right answers often are the same.
_UNITS = {"ppl": 5, "word_ppl": 5, "bits_per_byte": 5}
_ROUGH = 20


@dataclass(frozen=True)
class _Implied:
    """The base's value as a row has it: by the metric itself or by one derived from it."""

    row: SurveyRow
    by: str
    base: Interval


def derivation(
    survey: Survey, name: str, metric: Metric
) -> tuple[Derivation, tuple[str, ...]] | None:
    """Return how a metric is computed and from which: as it says, or as its score always is."""
    if metric.derived is not None:
        return metric.derived, metric.parts
    usual: dict[str, Derivation] = {"ppl_delta": "difference", "ppl_ratio": "ratio"}
    kind, of = usual.get(metric.of or name), survey.metrics("ppl")
    return (kind, tuple(of)) if kind and len(of) == 1 else None


def contradicted_mean(survey: Survey) -> Iterator[Contradiction]:
    """A mean that is not that of its parts, all of which the row has."""
    for name, metric in survey.table.metrics.items():
        how = derivation(survey, name, metric)
        if how is None or how[0] != "mean":
            continue
        for row in survey.rows:
            if not {name, *how[1]} <= row.values.keys():
                continue
            parts = [interval(row.values[part]) for part in how[1]]
            low, high = (sum(ends) / len(parts) for ends in zip(*parts, strict=True))
            if not overlap(interval(row.values[name]), (low, high)):
                words = (
                    f"{row.values[name].printed.value} is no mean of {', '.join(how[1])}, "
                    f"which is {(low + high) / 2:.6g}"
                )
                yield Contradiction("contradicted_mean", row, name, words)


def contradicted_difference(survey: Survey) -> Iterator[Contradiction]:
    """A value of which a difference or ratio beside it says another base than other rows do."""
    for group in survey.groups:
        for metric in survey.table.metrics:
            implied = _implied(survey, group, metric)
            if len(implied) > 1:
                yield from _dissenters(metric, implied)


def equals_base(survey: Survey) -> Iterator[Contradiction]:
    """A quantized value that is the base's to the digit, where larger formats are far from it."""
    for group in survey.groups:
        for metric in survey.table.metrics:
            implied = _implied(survey, group, metric)
            if implied:
                yield from _equal(group, metric, _settled(implied))


def _implied(survey: Survey, group: list[SurveyRow], metric: str) -> list[_Implied]:
    """The base's value of a metric as each row of a model has it."""
    by = [
        (name, how[0])
        for name, each in survey.table.metrics.items()
        if (how := derivation(survey, name, each)) and how[0] != "mean" and how[1] == (metric,)
    ]
    implied = []
    for row in group:
        if metric not in row.values:
            continue
        value = interval(row.values[metric])
        own = [(name, kind) for name, kind in by if name in row.values]
        for name, kind in own:
            base = _base(value, interval(row.values[name]), kind)
            implied += [_Implied(row, name, base)] if base else []
        if row.format.base and not own:
            implied.append(_Implied(row, metric, value))
    return implied


def _base(value: Interval, derived: Interval, how: Derivation) -> Interval | None:
    """Return the base: what was subtracted from a value, or what it was divided by; None where
    that is no number."""
    if how == "difference":
        return (value[0] - derived[1], value[1] - derived[0])
    scale, shift = {"ratio": (1.0, 0.0), "percent": (0.01, 0.0), "change": (0.01, 1.0)}[how]
    factors = [shift + scale * end for end in derived]
    if min(factors) <= 0:
        return None
    ends = [one / factor for one in value for factor in factors]
    return (min(ends), max(ends))


def _settled(implied: list[_Implied]) -> float:
    """The base's value that most say; if as many say what is printed of it, that."""
    intervals = [each.base for each in implied]
    base, most = agreement(intervals)
    for each in implied:
        if each.row.format.base:
            near = [other for other in intervals if overlap(other, each.base)]
            at, votes = agreement(near)
            if votes == most:
                return at
    return base


def _dissenters(metric: str, implied: list[_Implied]) -> Iterator[Contradiction]:
    base = _settled(implied)
    printed = [each for each in implied if each.by == metric]

    def dissents(each: _Implied) -> bool:
        """True if it is neither the base of most rows, nor that of any row of the model itself."""
        bases = [widened(base, 0.0), *(other.base for other in printed if other is not each)]
        return not any(overlap(each.base, other) for other in bases)

    for row in {each.row.number: each.row for each in implied}.values():
        wrong = [each for each in implied if each.row is row and dissents(each)]
        right = any(each.row is row and each not in wrong for each in implied)
        if not wrong or (wrong[0].by == metric and len(printed) > 1):
            continue
        told = " and ".join(
            f"with {each.by} {row.values[each.by].printed.value} it makes a base of "
            f"{sum(each.base) / 2:.7g}"
            for each in wrong
            if each.by != metric
        )
        value = f"{metric} is {row.values[metric].printed.value}"
        words = f"{value}{f', {told}' if told else ''}; by other rows the base is {base:.7g}"
        field = wrong[0].by if right or len(wrong) == 1 else metric
        yield Contradiction("contradicted_difference", row, field, words)


def _equal(group: list[SurveyRow], metric: str, base: float) -> Iterator[Contradiction]:
    rows = [row for row in group if metric in row.values and not row.format.base]
    for row in rows:
        value = row.values[metric]
        share = value.score.partition("[")[0] in SHARES
        if value.kind != "quality" or share or not overlap(interval(value), widened(base, 0.0)):
            continue
        bits = row.format.bits
        larger = [
            other for other in rows if bits and other.format.bits and other.format.bits > bits
        ]
        away = [abs(float(each.values[metric].printed.value) - base) for each in larger]
        units = _UNITS.get(value.score, _ROUGH)
        if away and min(away) > units * 2 * float(value.rounding):
            nearest = larger[away.index(min(away))]
            words = (
                f"{value.printed.value} is the model's before quantization; {nearest}, which is "
                f"larger, has {nearest.values[metric].printed.value}"
            )
            yield Contradiction("equals_base", row, metric, words)
