"""What the levers of the rules save: of the best row, or of the smallest where nothing fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qpipe.advice.answer import AdviceLever
from qpipe.advice.candidates import AdvisedFormat, situation
from qpipe.advice.rulebook import AdviceRule
from qpipe.errors import RecipeError
from qpipe.session.advising.figures import FormatFigures

_SMALLER = {"vllm": "fp8", "exllama": "q8"}
_LEAST_CONTEXT = 512


def levers(figures: FormatFigures, candidate: AdvisedFormat) -> list[AdviceLever]:
    """Every lever of the rules that holds for a candidate, with what it saves of its memory."""
    there = situation(candidate, figures.machine, figures.needs, figures.book)
    rules = [rule for rule in figures.book.of(there) if rule.effect.lever]
    return [lever for rule in rules for lever in _of(rule, figures, candidate)]


def _of(
    rule: AdviceRule, figures: FormatFigures, candidate: AdvisedFormat
) -> Iterator[AdviceLever]:
    needs = figures.needs
    if rule.id in ("kv-cache", "kv-cache-fp8", "kv-cache-exllama"):
        kind = _SMALLER.get(candidate.runtime, "q8_0")
        yield _saved(rule, candidate, replace(figures, cache=kind), f"KV cache in {kind}")
    elif rule.id == "context":
        yield from _shorter(rule, figures, candidate)
    elif rule.id == "batch":
        if needs.batch > 1:
            fewer = replace(figures, needs=replace(needs, batch=1))
            yield _saved(rule, candidate, fewer, "--batch 1")
    else:
        yield AdviceLever(rule)


def _shorter(
    rule: AdviceRule, figures: FormatFigures, candidate: AdvisedFormat
) -> Iterator[AdviceLever]:
    """Half the context; where the candidate does not fit, the longest with which it does."""
    context = figures.needs.context // 2
    while context >= _LEAST_CONTEXT:
        other = replace(figures, needs=replace(figures.needs, context=context))
        lever = _saved(rule, candidate, other, f"--ctx {context}")
        if not candidate.lacks or lever.fits or context // 2 < _LEAST_CONTEXT:
            yield lever
            return
        context //= 2


def _saved(
    rule: AdviceRule, candidate: AdvisedFormat, figures: FormatFigures, setting: str
) -> AdviceLever:
    try:
        smaller = figures.placed(candidate)
    except RecipeError:  # a cache that its runtime has not
        return AdviceLever(rule)
    saves = candidate.footprint.total - smaller[0].total
    return AdviceLever(rule, max(saves, 0), smaller[1] == 0 if candidate.lacks else None, setting)
