"""What a run says of a loss: from windows and items in the store, else from its report alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qpipe.gate.bounds import DROP, KLD, PPL
from qpipe.gate.estimates import Bracket, Estimate, PerplexityRise, ReportedInterval
from qpipe.gate.paired_items import PairedItems
from qpipe.gate.recovered import recovered
from qpipe.gate.stored import divergence_sums, folder_of, item_pairs, likelihoods
from qpipe.gate.window_means import STOPPED, WindowMean
from qpipe.report.reference_difference import made_alike
from qpipe.results.comparison import ModelRow, way, way_labels
from qpipe.results.fields import labelled
from qpipe.results.scores import NORMAL_95

if TYPE_CHECKING:
    from qpipe.results.measurement import Evaluation
    from qpipe.results.scores import Score

ITEMS, TOKENS = "items", "tokens"
BITS = "bits a byte were measured, which are no perplexity"
OF_ITEMS, OF_WINDOWS, OF_REPORT = "items", "windows", "report"

# Scores of tasks in the order in which one is taken of each.
_SCORES = ("acc", "acc_norm", "exact_match")
_PERPLEXITIES = ("ppl", "word_ppl")
# Standard errors that know nothing of windows are made so much wider: on tinystories-d256's windows
# those of kld are 1.2 to 1.4 times as wide as its tokens say.
_TOKENS_ALONE = 2.0
# Discordant items from which an interval of theirs is taken for a normal one.
_NORMAL_FROM = 30


@dataclass(frozen=True)
class Evidence:
    """A model's loss of one ``kind`` beside its reference, under the ``name`` that reports have.

    ``basis`` is what is known of it (items, windows, or the report alone), ``tasks`` the parts of a
    drop, ``note`` what a reader has to know.
    """

    row: ModelRow
    evaluation: Evaluation
    kind: str
    name: str
    estimate: Estimate
    unit: str
    basis: str
    tasks: Mapping[str, PairedItems]
    note: str | None = None


@dataclass(frozen=True)
class Lack:
    """A loss of which a run says nothing: why, in words that follow the row's name."""

    row: ModelRow
    kind: str
    why: str


class Gatherer:
    """Finds the evidence of rows of one comparison; ``score`` is the one to take of tasks."""

    def __init__(self, rows: Sequence[ModelRow], *, score: str | None = None) -> None:
        self._labels = way_labels([row.measurements for row in rows])
        self._score = score

    def of(self, row: ModelRow, reference: ModelRow, kind: str) -> list[Evidence] | Lack:
        """The evidence of one kind of loss: of each way of measuring it."""
        ways = {DROP: self._drops, KLD: self._divergences, PPL: self._rises}
        by_name: dict[str, Evidence] = {}
        why = None
        for each in ways[kind](row, reference):
            if isinstance(each, Lack):
                why = why or each
            elif each.name not in by_name or by_name[each.name].basis == OF_REPORT:
                by_name[each.name] = _with_arithmetic(each)
        return [*by_name.values()] or why or Lack(row, kind, _unmeasured(row))

    def _name(self, evaluation: Evaluation, score: Score) -> str:
        return labelled(score, self._labels.get(way(evaluation), {})).key

    def _divergences(self, row: ModelRow, reference: ModelRow) -> Iterator[Evidence | Lack]:
        for each in row.measurements:
            scores = {score.name: score for score in each.measurement.scores}
            if each.metric != "logprobs" and KLD in scores:
                name = self._name(each, scores[KLD])
                yield _divergence(row, each, scores, name)

    def _rises(self, row: ModelRow, reference: ModelRow) -> Iterator[Evidence | Lack]:
        for each in row.measurements:
            for score in each.measurement.scores:
                if score.name in _PERPLEXITIES and not score.where:
                    yield _rise(row, each, reference, score, self._name(each, score))
                elif score.name == "bits_per_byte":
                    yield Lack(row, PPL, BITS)

    def _drops(self, row: ModelRow, reference: ModelRow) -> Iterator[Evidence | Lack]:
        for each in row.measurements:
            if each.measurement.on.items is None:
                continue
            other = made_alike(each, reference.measurements)
            if other is None:
                yield Lack(row, DROP, "its tasks were asked otherwise than the reference's")
                continue
            protocol = each.measurement.protocol or ""
            several = sum(e.measurement.on.items is not None for e in row.measurements) > 1
            yield _drop(row, each, other, self._score, f"drop[{protocol}]" if several else DROP)


def _with_arithmetic(evidence: Evidence) -> Evidence:
    """The evidence, with a note where model and reference were not computed alike."""
    unlike = evidence.evaluation.unlike
    if unlike is None:
        return evidence
    return replace(evidence, note="; ".join(filter(None, (evidence.note, f"computed in {unlike}"))))


def _unmeasured(row: ModelRow) -> str:
    if row.error:
        return f"it could not be made or measured ({row.error})"
    return "it is not measured" + (" yet: the run has not ended" if row.status == "waiting" else "")


# -- KL divergence --------------------------------------------------------------------------------


def _divergence(
    row: ModelRow, each: Evaluation, scores: Mapping[str, Score], name: str
) -> Evidence | Lack:
    estimate, basis, note = _kept_divergence(each, scores), OF_WINDOWS, _stopped(each)
    if estimate is None:
        estimate, basis = _reported_divergence(each, scores), OF_REPORT
        note = "; ".join(filter(None, (_GONE, note)))
    if estimate is None:
        return Lack(row, KLD, "an older qpipe kept neither its windows nor its error")
    return Evidence(row, each, KLD, name, estimate, TOKENS, basis, {}, note)


def _stopped(each: Evaluation) -> str | None:
    """A note on a measurement that another level ended early."""
    sampling = each.measurement.sampling
    if sampling is None or (by := sampling.dominated_by) is None:
        return None
    return (
        f"it ended early since {by.name or by.format} is smaller and better: it leans to the worse"
    )


def _kept_divergence(each: Evaluation, scores: Mapping[str, Score]) -> Estimate | None:
    kept = divergence_sums(each)
    if kept is None:
        return None
    value, most = scores[KLD].value, scores.get("kld_at_most")
    wider = STOPPED if each.measurement.sampling else 1.0
    least = WindowMean.of(kept.least, kept.tokens, value=value, wider=wider)
    if most is None:
        return least
    return Bracket(least, WindowMean.of(kept.most, kept.tokens, value=most.value, wider=wider))


def _reported_divergence(each: Evaluation, scores: Mapping[str, Score]) -> Estimate | None:
    score, most = scores[KLD], scores.get("kld_at_most")
    sampling = each.measurement.sampling
    if sampling and sampling.interval:
        low, high = sampling.interval
    elif score.stderr is not None:
        half = _TOKENS_ALONE * NORMAL_95 * score.stderr
        low, high = score.value - half, score.value + half
    else:
        return None
    least = _reported(score.value, low, high, each)
    if most is None:
        return least
    gap = most.value - score.value
    return Bracket(least, _reported(most.value, low + gap, high + gap, each))


def _reported(value: float, low: float, high: float, each: Evaluation) -> ReportedInterval:
    on = each.measurement.on
    return ReportedInterval(value, low, high, on.tokens_scored or on.items or 0)


# -- perplexity -----------------------------------------------------------------------------------


def _rise(
    row: ModelRow, each: Evaluation, reference: ModelRow, score: Score, name: str
) -> Evidence | Lack:
    other = made_alike(each, reference.measurements)
    if other is None:
        return Lack(row, PPL, "the reference was measured on another text or in another way")
    kept = rise_between(each, other)
    if kept is not None:
        return Evidence(row, each, PPL, name, kept, TOKENS, OF_WINDOWS, {})
    delta = score.delta
    if delta is None:
        return Lack(row, PPL, "nothing says by how much it is above the reference's")
    low, high = delta.low, delta.high
    if (low is None or high is None) and delta.stderr is not None:
        half = _TOKENS_ALONE * NORMAL_95 * delta.stderr
        low, high = delta.value - half, delta.value + half
    if low is None or high is None:
        return Lack(row, PPL, "windows were not kept by an older qpipe, or are fewer than three")
    theirs, wider = score.value - delta.value, STOPPED if each.measurement.sampling else 1.0
    if theirs <= 0:
        return Lack(
            row, PPL, "its report contradicts itself: the reference's would not be positive"
        )
    low, high = (delta.value + wider * (end - delta.value) for end in (low, high))
    estimate = _reported(delta.value / theirs, low / theirs, high / theirs, each)
    # A measurement of kld keeps this interval, which is over windows, and not the windows.
    note = _GONE if each.metric != KLD or delta.low is None else None
    return Evidence(row, each, PPL, name, estimate, TOKENS, OF_REPORT, {}, note)


def rise_between(one: Evaluation, other: Evaluation) -> PerplexityRise | None:
    """The rise of the perplexity from one measurement to another, window by window; None where
    windows are not kept, or are not the same."""
    ours, theirs = likelihoods(one), likelihoods(other)
    if ours is None or theirs is None or ours.unit == "byte":
        return None
    if ([*ours.tokens], ours.unit, ours.units) != ([*theirs.tokens], theirs.unit, theirs.units):
        return None
    moves = [a - b for a, b in zip(ours.nll, theirs.nll, strict=True)]
    units = ours.units / sum(ours.tokens)
    return PerplexityRise(WindowMean.of(moves, ours.tokens), units)


# -- tasks ----------------------------------------------------------------------------------------


def _drop(
    row: ModelRow, each: Evaluation, other: Evaluation, wanted: str | None, name: str
) -> Evidence | Lack:
    tasks, left_out = drops_between(each, other, wanted)
    if wanted and wanted not in {score.name for score in each.measurement.scores}:
        return Lack(row, DROP, f"none of its tasks has a score {wanted}")
    if tasks:
        note = None
        if left_out:
            note = f"without {', '.join(left_out)}, whose items are not right or wrong"
        return Evidence(row, each, DROP, name, summed(tasks), ITEMS, OF_ITEMS, tasks, note)
    if folder_of(each) is not None and folder_of(other) is not None:
        return Lack(row, DROP, "no task has a score whose items are right or wrong, and the same "
                    "for both")  # fmt: skip
    reported = _reported_drop(each, wanted)
    if reported is None:
        return Lack(row, DROP, "its items are not in the store any more, and its report says too "
                    "little of them")  # fmt: skip
    estimate, counted, note = reported
    return Evidence(row, each, DROP, name, estimate, ITEMS, OF_REPORT, counted, note)


def drops_between(
    one: Evaluation, other: Evaluation, wanted: str | None = None
) -> tuple[dict[str, PairedItems], list[str]]:
    """The items of each task that two models answered, by the name of its score, and the tasks of
    which no score is right or wrong item by item."""
    by_task: dict[frozenset[str], list[tuple[int, str, PairedItems | None]]] = {}
    better = {score.key: score.better for score in one.measurement.scores}
    for field, paired in item_pairs(one, other).items():
        pairs = [pair for _, several in paired.tasks.values() for pair in several]
        if better.get(field) == "lower":
            pairs = [(theirs, ours) for ours, theirs in pairs]
        rank = _rank(paired.metric, wanted)
        counted = None if rank is None else _counted(pairs)
        entry = (len(_SCORES) + 1 if rank is None else rank, field, counted)
        by_task.setdefault(frozenset(paired.tasks), []).append(entry)
    chosen: dict[str, PairedItems] = {}
    left_out = []
    for names, entries in by_task.items():
        usable = [entry for entry in entries if entry[2] is not None]
        if not usable:
            left_out.append(", ".join(sorted(names)))
            continue
        _, field, counted = min(usable, key=lambda entry: entry[0])
        assert counted is not None
        chosen[field] = counted
    return chosen, left_out


def _rank(metric: str, wanted: str | None) -> int | None:
    """The place of a score among those of a task, the first being taken; None of others."""
    if metric == wanted:
        return -1
    return _SCORES.index(metric) if metric in _SCORES else None


def _counted(pairs: Sequence[tuple[float, float]]) -> PairedItems | None:
    """The counts of pairs (model, reference); None unless every item is right or wrong."""
    if any(value not in (0.0, 1.0) for pair in pairs for value in pair):
        return None
    lost = sum(ours < theirs for ours, theirs in pairs)
    return PairedItems(len(pairs), lost, sum(ours > theirs for ours, theirs in pairs))


def _reported_drop(
    each: Evaluation, wanted: str | None
) -> tuple[Estimate, Mapping[str, PairedItems], str] | None:
    """The drop by the counts that a report lets work out, else the mean drop over tasks by their
    intervals, if these are of enough discordant items to be normal; and a note on it."""
    chosen = _reported_scores(each, wanted)
    items = each.measurement.on.items or 0
    if not chosen or not items:
        return None
    if (tasks := recovered(chosen, items)) is not None:
        return summed(tasks), tasks, _COUNTED
    known = [
        (delta.value, (delta.high - delta.low) / 2)
        for score in chosen.values()
        if (delta := score.delta) and delta.low is not None and delta.high is not None
    ]
    half = sum(half**2 for _, half in known) ** 0.5 / len(chosen)
    if len(known) < len(chosen) or (items * half / NORMAL_95) ** 2 < _NORMAL_FROM:
        return None
    value = -sum(value for value, _ in known) / len(known)
    return ReportedInterval(value, value - half, value + half, items), {}, _GONE_ITEMS


def _reported_scores(each: Evaluation, wanted: str | None) -> dict[str, Score]:
    """The score to take of each task, by its key."""
    by_task: dict[str, tuple[int, Score]] = {}
    for score in each.measurement.scores:
        rank = _rank(score.name, wanted)
        if rank is not None and score.delta is not None and score.delta.p is not None:
            task = score.where.partition(" ")[0]
            best = by_task.get(task)
            by_task[task] = (rank, score) if best is None or rank < best[0] else best
    return {score.key: score for _, score in by_task.values()}


def summed(tasks: Mapping[str, PairedItems]) -> PairedItems:
    """Return the items of all tasks together."""
    total, *more = tasks.values()
    for part in more:
        total += part
    return total


_GONE = "windows are not in the store any more: the report's interval is taken, as if normal"
_COUNTED = "items are not in the store any more: their counts are worked out from the report"
_GONE_ITEMS = (
    "items are not in the store any more: the mean over tasks and the report's interval are taken, "
    "as if normal"
)
