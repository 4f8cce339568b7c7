"""`qpipe.advise`: the use case behind `qpipe advise`."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qpipe.core.layout import DEFAULT_STORE
from qpipe.errors import UsageError

if TYPE_CHECKING:
    from qpipe.advice.answer import Advice
    from qpipe.advice.candidates import AdvisedFormat
    from qpipe.advice.evidence import QualityEvidence
    from qpipe.advice.hardware import AdvisedMachine
    from qpipe.advice.needs import Metric, Needs
    from qpipe.advice.ranking import Figures, Ranking
    from qpipe.session.advising.own import OwnFigures


def advise(
    model: str | Path,
    *,
    gpu: str | None = None,
    ram: str | None = None,
    runtime: str | None = None,
    ctx: int | str | None = None,
    batch: int | str | None = None,
    min_quality: str | None = None,
    min_speed: str | float | None = None,
    offline_cpu: bool = False,
    prefer: str | None = None,
    store: str | Path | None = None,
) -> Advice:
    """Return advice on the formats of ``model``, best first: a config.json, a folder,
    ``builtin:NAME``, or a repository on the hub, of which at most config.json is fetched.

    ``gpu`` is a card's name, an amount of memory, or ``none``; with ``ram`` it describes a machine,
    and without both it is this one. ``min_quality`` is ``kld=0.02``, ``ppl=1%`` or
    ``accuracy=99%``, ``min_speed`` tokens a second, ``prefer`` balanced, quality, size or speed.

    Raises UsageError for what means nothing, and for demands that contradict each other, with both;
    SourceError and CheckpointError for a model that cannot be had or is not known.
    """
    from qpipe.advice.answer import Advice
    from qpipe.advice.needs import Needs
    from qpipe.advice.ranking import ranked
    from qpipe.advice.rulebook import rulebook
    from qpipe.runtimes.contexts import usual_context
    from qpipe.session.advising.figures import FormatFigures
    from qpipe.session.advising.levers import levers
    from qpipe.session.advising.machine import machine
    from qpipe.session.advising.own import own_figures
    from qpipe.session.advising.subject import subject

    needs = Needs.of(
        runtime=runtime, context=ctx, batch=batch, min_quality=min_quality, min_speed=min_speed,
        offline_cpu=offline_cpu, prefer=prefer, gpu=gpu,
    )  # fmt: skip
    book = rulebook()
    there = machine(gpu, ram, needs)
    about = subject(str(model))
    if ctx is None:
        needs = replace(needs, context=usual_context(about.trained))
    own = own_figures(about.source, Path(store or os.environ.get("QPIPE_STORE") or DEFAULT_STORE))
    figures = FormatFigures(about.config, there, needs, book, own)
    candidates, refused = figures.all()
    known = partial(_figure, about.name, about.weights, own)
    ranking = ranked(candidates, known, machine=there, needs=needs, book=book, refused=refused)
    _require_possible(ranking, known, needs, there, gpu)
    first = ranking.rows[0].candidate if ranking.rows else next(iter(ranking.too_large), None)
    return Advice(
        about.name,
        about.source,
        about.weights,
        there,
        needs,
        ranking,
        () if first is None else tuple(levers(figures, first)),
        book,
        tuple(dict.fromkeys((*about.notes, *_shared(there), *_uncounted(ranking)))),
        figures.longest(ranking.rows[0].candidate) if ranking.rows else None,
    )


def _shared(machine: AdvisedMachine) -> list[str]:
    """Say what of a machine's memory its GPUs may have, where they share it with the CPU."""
    return [card.note for card in machine.cards if card.note is not None]


def _uncounted(ranking: Ranking) -> list[str]:
    """Say what the memory of rows does not count, by runtime."""
    from qpipe.runtimes.overheads import overheads

    there = {(row.candidate.runtime, row.candidate.footprint.device) for row in ranking.rows}
    return [
        each.note
        for runtime, device in sorted(there)
        for each in overheads("llama.cpp" if runtime == "ollama" else runtime)
        if each.size is None and each.device in device.split("+")
    ]


def _figure(
    model: str, weights: int, own: OwnFigures, candidate: AdvisedFormat, metric: Metric | None
) -> QualityEvidence | None:
    """The figure that says most of a candidate: own runs, then what was published."""
    from qpipe.advice.evidence import chosen, signature
    from qpipe.session.advising.published import published

    made = signature(candidate.quantize)
    return chosen(
        [*own.quality.get(made, ()), *published().get(made, ())],
        model=model,
        weights=weights,
        calibrated=candidate.calibrated,
        metric=metric,
    )


def _require_possible(
    ranking: Ranking, known: Figures, needs: Needs, machine: AdvisedMachine, gpu: str | None
) -> None:
    """Raise UsageError where the floors and the machine, or both floors, leave nothing."""
    from qpipe.advice.ranking import lossless

    if ranking.rows or ranking.undecided or not (needs.quality or needs.speed):
        return
    asked = [
        *([f"--min-quality {needs.quality.text}"] if needs.quality else []),
        *([f"--min-speed {needs.speed:g}"] if needs.speed else []),
    ]
    if not ranking.below_floor:
        return  # nothing fits at all, which is said with what is lacking
    there = machine.words()
    best = ranking.below_floor[0]
    enough = [each for each in ranking.too_large if _good(each, known, needs) or lossless(each)]
    if len(asked) == 1 and enough:
        first = min(enough, key=lambda each: each.lacks)
        size = first.lacks / (1 << 30)
        raise UsageError(
            f"{asked[0]} and the memory of this machine ({there}) contradict each other: the "
            f"smallest that is good enough is {first.format} in {first.runtime}, which lacks "
            f"{size:.1f} GiB; of what fits, {best.format} has {best.why}"
        )
    also = " and ".join(asked)
    both = f"{also} contradict each other" if len(asked) > 1 else f"{also} cannot be met"
    raise UsageError(f"{both} on this machine ({there}): {best.format} has {best.why}")


def _good(candidate: AdvisedFormat, known: Figures, needs: Needs) -> bool:
    """True for what is known to be good enough."""
    if needs.quality is None:
        return False
    figure = known(candidate, needs.quality.metric)
    return figure is not None and needs.quality.admits(figure.value)
