"""What a guided sweep found: the record in run.json, sentences, and marks in rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qpipe.report import numbers

if TYPE_CHECKING:
    from qpipe.evaluators.text.elimination import Beaten
    from qpipe.results.comparison import Comparison
    from qpipe.results.measurement import Evaluation
    from qpipe.session.guided.search import ComparedLevels, GuidedSweep

_GOALS = {
    "front": "the front of size and kld",
    "smallest": "the smallest level that is good enough",
    "best": "the level with the least kld",
}


def record(sweep: GuidedSweep) -> dict[str, Any]:
    """Return what run.json has under ``sweep``: what was looked for, and of each group of levels
    that were compared what was found, how far each was measured, and why no further."""
    return {**sweep.guide, "compared": [_group(each, sweep) for each in sweep.compared]}


def _group(each: ComparedLevels, sweep: GuidedSweep) -> dict[str, Any]:
    spent = sum(each.spent(level.id) for level in each.levels)
    plain = len(each.remaining) * each.available
    return {
        "model": each.levels[0].whole.made_for,
        "found": [each.label(level.name) for level in _found(each)],
        "levels": [_level(each, level.id, sweep) for level in each.levels],
        "windows": each.available,
        "rounds": each.rounds,
        "tokens": spent * each.width,
        "tokens_of_all": plain * each.width,
    }


def _found(each: ComparedLevels) -> Sequence[Any]:
    return each.standing.left if each.standing is not None else []


def _level(each: ComparedLevels, level: str, sweep: GuidedSweep) -> dict[str, Any]:
    verdict = each.standing.beaten.get(level) if each.standing else None
    windows = each.windows(level) if each.available else 0
    kld, interval = _figures(each, level, sweep)
    return {
        "name": each.label(level),
        "state": _state(each, level, verdict),
        "size_bytes": each.sizes.get(level),
        "kld": kld,
        "interval": interval,
        "windows": windows,
        "tokens": each.spent(level) * each.width if each.available else 0,
        "round": each.ends.get(level),
        "by": None if verdict is None or verdict.by is None else each.label(verdict.by),
        "difference": None if verdict is None else verdict.difference,
        "difference_at_least": None if verdict is None else verdict.at_least,
    }


def _state(each: ComparedLevels, level: str, verdict: Beaten | None) -> str:
    if level in each.too_large:
        return "too large"
    if level in each.failed or each.standing is None:
        return "failed"
    return "found" if verdict is None else verdict.why


def _figures(
    each: ComparedLevels, level: str, sweep: GuidedSweep
) -> tuple[Any, Sequence[float] | None]:
    parts = each.parts[level]
    outcome = sweep.outcomes.get(parts[-1].id) if parts else None
    if outcome is None or outcome.artifact is None:
        return None, None
    from qpipe.results import facts

    measured = facts.measurement(outcome.artifact.manifest.facts)
    kld = next((s.value for s in measured.scores if s.name == "kld"), None)
    interval = measured.sampling.interval if measured.sampling else None
    return kld, None if interval is None else [*interval]


def sentences(record: Mapping[str, Any]) -> list[str]:
    """Return what was found, a sentence for each thing to know."""
    models = [group["model"] for group in record["compared"]]
    lines: list[str] = []
    for group in record["compared"]:
        among = f" among {', '.join(level['name'] for level in group['levels'])}"
        apart = models.count(group["model"]) == 1
        of = "" if len(models) == 1 else f" of {group['model']}" if apart else among
        lines += _sentences(record, group, of)
    return lines


def goal(record: Mapping[str, Any], of: str = "") -> str:
    """Say what a sweep looks for, with its bounds."""
    return f"{_GOALS[record['find']]}{of}{_bounds(record)}"


def _sentences(record: Mapping[str, Any], group: Mapping[str, Any], of: str) -> Iterator[str]:
    wanted = goal(record, of)
    if group["found"]:
        sure = f"{record['confidence']:.0%} confidence"
        count = f"{len(group['found'])} of {len(group['levels'])} levels"
        yield f"guided sweep: {wanted}: {', '.join(group['found'])} ({count}; {sure})"
    else:
        yield f"guided sweep: {wanted}: {_nothing(record, group)}"
    out: dict[str, list[str]] = {}
    for level in group["levels"]:
        if level["state"] not in ("found", "failed"):
            out.setdefault(_why(level, record), []).append(level["name"])
    yield from (f"guided sweep{of}: out: {', '.join(names)}: {why}" for why, names in out.items())
    there = [level["name"] for level in group["levels"] if level["windows"] and not level["tokens"]]
    if there:
        yield f"guided sweep{of}: measured before, on the whole text: {', '.join(there)}"
    if group["tokens_of_all"]:
        share = group["tokens"] / group["tokens_of_all"]
        yield (
            f"guided sweep{of}: {group['tokens']:,} tokens measured, {share:.0%} of the "
            f"{group['tokens_of_all']:,} that every level on the whole text takes"
        )


def _why(level: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    after = f"after {level['windows']} windows (round {level['round']})"
    return {
        "too large": "too large",
        "worse": f"{level['by']} is no larger and better, {after}",
        "same": f"gives the same as {level['by']} to the bit, {after}",
        "above": f"kld above {record['max_kld']}, {after}",
        "larger": f"{level['by']} is no larger and good enough, {after}",
    }[level["state"]]


def _bounds(record: Mapping[str, Any]) -> str:
    bounds = []
    if record["max_size"] is not None:
        bounds.append(f"at most {record['max_size']:,} bytes")
    if record["max_kld"] is not None:
        bounds.append(f"kld at most {record['max_kld']:g}")
    return f" ({', '.join(bounds)})" if bounds else ""


def _nothing(record: Mapping[str, Any], group: Mapping[str, Any]) -> str:
    """Why there is nothing, and what comes nearest."""
    levels = group["levels"]
    sized = [level for level in levels if level["size_bytes"] is not None]
    if sized and all(level["state"] == "too large" for level in sized):
        least = min(sized, key=lambda level: level["size_bytes"])
        return (
            f"none; the smallest level is {least['name']} with {least['size_bytes']:,} bytes: "
            "raise hydra.sweeper.max_size, or add smaller levels"
        )
    measured = [level for level in levels if level["kld"] is not None]
    if not measured:
        return "none; no level could be measured"
    best = min(measured, key=lambda level: level["kld"])
    within = "" if record["max_size"] is None else " of those within the size"
    return (
        f"none; the least kld{within} is {numbers.figure(best['kld'])} ({best['name']}): raise "
        "hydra.sweeper.max_kld" + (" or max_size" if within else ", or add larger levels")
    )


def marked(comparison: Comparison, sweep: GuidedSweep, found: Mapping[str, Any]) -> Comparison:
    """The comparison with the rivals of levels that were beaten, and what was found as notes."""
    rivals = _rivals(sweep)
    lines = tuple(sentences(found))
    rows = [
        replace(
            row,
            notes=(*row.notes, *lines),
            measurements=tuple(_marked(each, rivals) for each in row.measurements),
        )
        for row in comparison.rows
    ]
    return type(comparison).of(rows)


def _rivals(sweep: GuidedSweep) -> dict[str, Any]:
    """Map the key of the last measurement of each level that another beats to that other."""
    from qpipe.evaluators.text.elimination import kld
    from qpipe.results.sampling import Rival

    rivals: dict[str, Any] = {}
    for each in sweep.compared:
        if each.standing is None or each.counts is None:
            continue
        for level, verdict in each.standing.beaten.items():
            outcome = sweep.outcomes.get(each.parts[level][-1].id)
            if verdict.why != "worse" or verdict.by is None or outcome is None:
                continue
            if outcome.artifact is None or "interval" not in outcome.artifact.manifest.facts:
                continue
            by = sweep.outcomes[next(o.model for o in each.levels if o.id == verdict.by)]
            assert by.artifact is not None
            rivals[outcome.artifact.key] = Rival(
                digest=by.artifact.manifest.digest,
                format=each.label(verdict.by),
                size_bytes=each.sizes[verdict.by],
                kld=kld(each.candidates[verdict.by], each.counts),
                difference=verdict.difference,
                difference_at_least=verdict.at_least,
                confidence=sweep.guide["confidence"],
                name=each.label(verdict.by),
            )
    return rivals


def _marked(each: Evaluation, rivals: Mapping[str, Any]) -> Evaluation:
    rival = rivals.get(each.key or "")
    sampling = each.measurement.sampling
    if rival is None or sampling is None:
        return each
    sampling = replace(sampling, words=f"stopped after {sampling.words}", dominated_by=rival)
    return replace(each, measurement=replace(each.measurement, sampling=sampling))
