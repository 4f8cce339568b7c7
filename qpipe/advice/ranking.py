"""Candidates ranked by the rules, by what was measured, and by the floors that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from qpipe.advice.candidates import AdvisedFormat, situation
from qpipe.advice.evidence import QualityEvidence
from qpipe.advice.hardware import AdvisedMachine
from qpipe.advice.needs import Metric, Needs
from qpipe.advice.rulebook import AdviceRule, Rulebook

Figures = Callable[[AdvisedFormat, Metric | None], "QualityEvidence | None"]
"""Gives the figure that says most of a candidate, of one metric or any; None if there is none."""

_UNNAMED = " Which card this is was not said: name it with --gpu."


@dataclass(frozen=True)
class RankedRow:
    """A candidate that fits, with its figure of quality, the other runtimes that take the same
    files, and what measurements ``overruled``: a sentence each."""

    candidate: AdvisedFormat
    quality: QualityEvidence | None = None
    also: tuple[str, ...] = ()
    overruled: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class PassedOver:
    """A format that is no row: ``why``, and the rule that says so, if one does."""

    format: str
    runtime: str
    why: str
    rule: AdviceRule | None = None


@dataclass(frozen=True)
class Ranking:
    """Rows, best first; what a rule or a floor leaves out; what does not fit, the smallest first;
    and of what fits and is not known to be good or fast enough."""

    rows: tuple[RankedRow, ...]
    left_out: tuple[PassedOver, ...] = ()
    too_large: tuple[AdvisedFormat, ...] = ()
    below_floor: tuple[PassedOver, ...] = ()
    undecided: tuple[PassedOver, ...] = ()


def ranked(
    candidates: Sequence[AdvisedFormat],
    figures: Figures,
    *,
    machine: AdvisedMachine,
    needs: Needs,
    book: Rulebook,
    refused: Sequence[PassedOver] = (),
) -> Ranking:
    """Rank what fits; all that is no row is named with the reason, first what was ``refused``."""
    left_out = [*refused]
    fitting: list[AdvisedFormat] = []
    for each in candidates:
        there = situation(each, machine, needs, book)
        rules = book.of(there)
        out = next((rule for rule in rules if rule.effect.leave_out), None)
        if out is not None:
            unknown = _UNNAMED if out.when.or_unknown and there.capability is None else ""
            left_out.append(PassedOver(each.format, each.runtime, out.says.en + unknown, out))
        else:
            fitting.append(replace(each, rules=tuple(rules)))
    too_large = sorted((c for c in fitting if c.lacks), key=lambda c: c.lacks)
    rows, below, undecided = _floored([c for c in fitting if not c.lacks], figures, needs)
    rows.sort(key=lambda row: _order(row.candidate, needs))
    rows = _overruled(_once(rows) if needs.runtime is None else rows)
    return Ranking(tuple(rows), tuple(left_out), tuple(too_large), tuple(below), tuple(undecided))


def _order(candidate: AdvisedFormat, needs: Needs) -> tuple[float, ...]:
    if needs.goal == "size":
        return (candidate.size_bytes, -candidate.points)
    larger = candidate.bits_per_weight
    return (-candidate.points, larger if needs.goal == "speed" else -larger)


def _floored(
    candidates: Sequence[AdvisedFormat], figures: Figures, needs: Needs
) -> tuple[list[RankedRow], list[PassedOver], list[PassedOver]]:
    """Rows that meet the floors, what does not, and what nothing is known of."""
    rows: list[RankedRow] = []
    below: list[PassedOver] = []
    undecided: list[PassedOver] = []
    for each in candidates:
        asked = None if needs.quality is None else needs.quality.metric
        quality = figures(each, asked)
        problem = _too_slow(each, needs) or _too_lossy(each, quality, needs)
        unknown = _unknown(each, quality, needs)
        if problem is not None:
            below.append(PassedOver(each.format, each.runtime, problem))
        elif unknown is not None:
            undecided.append(PassedOver(each.format, each.runtime, unknown))
        else:
            rows.append(RankedRow(each, quality, doubts=tuple(_doubts(each, quality, needs))))
    return rows, below, undecided


def lossless(candidate: AdvisedFormat) -> bool:
    """True for a model that is not quantized."""
    return candidate.method == "none"


def _too_slow(candidate: AdvisedFormat, needs: Needs) -> str | None:
    speed = candidate.speed
    if needs.speed is None or speed is None or speed.tokens_per_second >= needs.speed:
        return None
    most = "at most " if speed.at_most else ""
    return f"{most}{speed.tokens_per_second:.3g} t/s, {needs.speed:g} are asked for"


def _too_lossy(
    candidate: AdvisedFormat, quality: QualityEvidence | None, needs: Needs
) -> str | None:
    floor = needs.quality
    if floor is None or lossless(candidate) or quality is None or floor.admits(quality.value):
        return None
    return f"{shown(quality)}, {floor.text} is asked for"


def _unknown(candidate: AdvisedFormat, quality: QualityEvidence | None, needs: Needs) -> str | None:
    if needs.quality is not None and quality is None and not lossless(candidate):
        return f"no {needs.quality.metric} of it is known, by which --min-quality asks"
    if needs.speed is not None and candidate.speed is None:
        return "its speed is not known, by which --min-speed asks"
    return None


def _doubts(candidate: AdvisedFormat, quality: QualityEvidence | None, needs: Needs) -> list[str]:
    doubts = []
    indicated = quality is not None and quality.transfer == "another model"
    if needs.quality is not None and indicated and not lossless(candidate):
        doubts.append(
            f"{needs.quality.text} is met by another model's figure, an indication: measure it"
        )
    if needs.speed is not None and candidate.speed is not None and candidate.speed.at_most:
        doubts.append(
            f"{needs.speed:g} t/s are within what memory allows, and not promised: measure it"
        )
    return doubts


def _once(rows: Sequence[RankedRow]) -> list[RankedRow]:
    """One row for each format: that of the runtime which came first, with the others named."""
    first: dict[tuple[str, str], RankedRow] = {}
    for row in rows:
        name = (row.candidate.format, repr(sorted(row.candidate.quantize.items())))
        if name not in first:
            first[name] = row
        else:
            also = (*first[name].also, row.candidate.runtime)
            first[name] = replace(first[name], also=also)
    return list(first.values())


def _overruled(rows: Sequence[RankedRow]) -> list[RankedRow]:
    """Put a row before those that it beats by measurement: no larger, and clearly better, measured
    alike on this very model. The rule that had it otherwise is named."""
    ordered: list[RankedRow] = []
    for row in rows:
        beaten = [i for i, above in enumerate(ordered) if _beats(row, above)]
        if not beaten:
            ordered.append(row)
            continue
        above = ordered[beaten[0]]
        ordered.insert(beaten[0], replace(row, overruled=(_sentence(row, above),)))
    return ordered


def _beats(row: RankedRow, above: RankedRow) -> bool:
    ours, theirs = row.quality, above.quality
    if ours is None or theirs is None or ours.transfer != "same model":
        return False
    no_larger = row.candidate.size_bytes <= above.candidate.size_bytes
    same = row.candidate.footprint.device == above.candidate.footprint.device
    return no_larger and same and ours.clearly_better(theirs)


def _sentence(row: RankedRow, above: RankedRow) -> str:
    assert row.quality is not None and above.quality is not None
    own = {rule.id for rule in row.candidate.rules}
    rules = [r.id for r in above.candidate.rules if r.effect.points > 0 and r.id not in own]
    which = f"the rule {rules[0]}" if rules else "the order by size"
    return (
        f"measurement overrules {which}: {shown(row.quality)} against {shown(above.quality)} of "
        f"{above.candidate.format}, which is no smaller"
    )


def shown(each: QualityEvidence) -> str:
    """A figure in words: ``KLD 0.031``, ``perplexity +1.2 %``, ``99.2 % of accuracy``."""
    if each.metric == "kld":
        return f"KLD {each.value:.2g}" if each.value < 0.1 else f"KLD {each.value:.2f}"
    if each.metric == "ppl":
        return f"perplexity {100 * each.value:+.2g} %"
    return f"{100 * each.value:.1f} % of accuracy"
