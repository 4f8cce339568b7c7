"""Advice as people read it: a table, the best row in words, what is no row, what makes room."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from qpipe.advice import words
from qpipe.advice.answer import Advice
from qpipe.advice.candidates import AdvisedFormat, AdvisedSpeed, afterwards, command
from qpipe.advice.ranking import PassedOver, RankedRow, lossless, shown
from qpipe.report import numbers, text

_ROWS = 6
_HEAD = ("#", "FORMAT", "FILES", "MEMORY", "LOSS", "T/S", "ON", "RUNS IN")
_NAMES = {"ollama": "Ollama", "vllm": "vLLM", "exllama": "ExLlamaV2"}
_MARK = "*"


def document(answer: Advice, width: int) -> str:
    """The whole answer at so many columns."""
    parts = [_heading(answer)]
    if answer.rows:
        parts += [_table(answer, width), _best(answer, width)]
    elif answer.smallest is not None:
        parts.append(_lacking(answer, answer.smallest, width))
    else:
        parts.append("Nothing is left: each format is named with the reason.")
    parts += [_others(answer, width), _room(answer, width), _notes(answer, width)]
    return "\n\n".join(filter(None, parts))


def _heading(answer: Advice) -> str:
    needs, many = answer.needs, ""
    if needs.batch > 1:
        many = f", {needs.batch} requests at once"
    billions = answer.weights / 1e9
    count = f"{billions:.3g} billion" if billions >= 1 else f"{billions * 1000:.3g} million"
    here = "this machine: " if answer.machine.detected else ""
    return (
        f"{answer.model}, {count} weights\n"
        f"{here}{answer.machine.words()}; {needs.context:,} tokens of context{many}"
    )


def _table(answer: Advice, width: int) -> str:
    ranks = _ranks(answer.rows)
    rows = [answer.rows[rank] for rank in ranks]
    shown_rows = [_cells(rank + 1, answer.rows[rank]) for rank in ranks]
    lines = [text.fitting(_HEAD, shown_rows, right="rlrrlrll", width=width, less=("RUNS IN",))]
    more = len(answer.rows) - len(rows)
    if more:
        lines.append(f"and {more} more, which --json has")
    lines += _legend(rows, width)
    return "\n".join(lines)


def _ranks(rows: Sequence[RankedRow]) -> list[int]:
    """The first rows, and further down the best of each runtime that is not among them."""
    first = [*range(min(_ROWS, len(rows)))]
    there = {name for i in first for name in (rows[i].candidate.runtime, *rows[i].also)}
    for rank in range(len(first), len(rows)):
        runtime = rows[rank].candidate.runtime
        if runtime not in there:
            there.add(runtime)
            first.append(rank)
    return first


def _cells(number: int, row: RankedRow) -> list[str]:
    candidate = row.candidate
    runtimes = (candidate.runtime, *row.also)
    return [
        str(number),
        candidate.format,
        numbers.size(candidate.size_bytes),
        numbers.size(candidate.footprint.total),
        _loss(row),
        _speed(candidate.speed),
        _place(candidate),
        ", ".join(_NAMES.get(each, each) for each in runtimes),
    ]


def _loss(row: RankedRow) -> str:
    if lossless(row.candidate):
        return "none"
    if row.quality is None:
        return "unknown"
    mark = _MARK if row.quality.transfer == "another model" else ""
    return shown(row.quality).replace("perplexity", "ppl").replace(" of accuracy", " acc.") + mark


def _speed(speed: AdvisedSpeed | None) -> str:
    if speed is None:
        return "?"
    value = speed.tokens_per_second
    return f"{'<' if speed.at_most else ''}{value:.{0 if value >= 10 else 1}f}"


def _place(candidate: AdvisedFormat) -> str:
    there = candidate.footprint
    return f"{there.layers}/{there.of_layers} GPU" if there.device == "cpu+gpu" else {
        "gpu": "GPU", "cpu": "CPU"}[there.device]  # fmt: skip


def _legend(rows: Sequence[RankedRow], width: int) -> Iterator[str]:
    losses = [row.quality for row in rows if row.quality is not None]
    said = []
    if any(each.metric == "kld" for each in losses):
        said.append("KLD: how far its words are from the model's own, in nats; 0 is no loss.")
    indicated = [each for each in losses if each.transfer == "another model"]
    if indicated:
        names = dict.fromkeys(each.model.rpartition("/")[2] for each in indicated)
        said.append(f"{_MARK} as published of {', '.join(names)}: an indication, no promise.")
    speeds = [row.candidate.speed for row in rows if row.candidate.speed]
    if any(each.at_most for each in speeds):
        said.append("<: reading the weights allows no more tokens a second.")
    if any(row.candidate.footprint.device == "cpu+gpu" for row in rows):
        said.append("N/M GPU: so many layers there, the rest on the CPU.")
    if any(row.candidate.speed is None for row in rows):
        said.append("?: not known here.")
    yield from _filled(" ".join(said), width)


def _best(answer: Advice, width: int) -> str:
    """The first row in words, with its commands and where its rules are from."""
    row = answer.rows[0]
    candidate = row.candidate
    lines = [f"1. {candidate.format}, made by the engine {candidate.engine}"]
    lines += _labelled("why", words.why(row, answer.machine, answer.book), width)
    if answer.longest is not None:
        lines += _labelled("context", f"fits with up to {answer.longest:,} tokens", width)
    lines += _labelled("gives up", "; ".join(words.gives_up(row)), width)
    lines += ["  make it", *_shell(answer.command(row), width)]
    then = afterwards(candidate)
    lines += [] if then is None else ["  then", *_shell(then, width)]
    measured = command(candidate, answer.source, measured=True)
    lines += ["  make it, and compare it with the original", *_shell(measured, width)]
    for other in answer.rows[1:_ROWS]:
        for sentence in other.overruled:
            lines += _labelled(other.candidate.format, sentence, width)
    rules = [rule for rule in candidate.rules if rule.effect.points or rule.effect.gives_up]
    if rules:
        lines.append("  sources")
        for each in answer.sources(rules):
            said = f"{each['title']} ({each['version'] or each['date']})"
            lines += _filled(said, width, first="    ", rest="      ")
    return "\n".join(lines)


def _shell(line: str, width: int) -> Iterator[str]:
    """A command over as many lines as it takes, which a shell reads as one."""
    *first, last = _filled(line, width - 2, first="    ", rest="      ")
    yield from (f"{part} \\" for part in first)
    yield last


def _lacking(answer: Advice, smallest: AdvisedFormat, width: int) -> str:
    need, lack = smallest.footprint.total, smallest.lacks
    said = (
        f"Nothing fits. The smallest, {smallest.format} in "
        f"{_NAMES.get(smallest.runtime, smallest.runtime)}, takes {numbers.size(need)}, and "
        f"{numbers.size(lack)} are lacking."
    )
    return "\n".join(_filled(said, width))


def _others(answer: Advice, width: int) -> str:
    """Name what is no row, each with the reason."""
    ranking = answer.ranking
    lines: list[str] = []
    lines += _grouped("not for this", ranking.left_out, width)
    lines += _grouped("not good or fast enough", ranking.below_floor, width)
    lines += _grouped("not known to be", ranking.undecided, width)
    sizes: dict[str, int] = {}
    for each in ranking.too_large:
        sizes.setdefault(each.format, each.lacks)
    if answer.rows and sizes:
        lacks = ", ".join(f"{name} by {numbers.size(lack)}" for name, lack in sizes.items())
        lines += _labelled("too large", lacks, width)
    return "\n".join(lines)


def _grouped(label: str, listed: Iterable[PassedOver], width: int) -> Iterator[str]:
    reasons: dict[str, dict[str, None]] = {}
    for each in listed:
        reasons.setdefault(each.why, {})[each.format] = None
    for why, formats in reasons.items():
        yield from _labelled(label, f"{', '.join(formats)}: {why}", width)


def _room(answer: Advice, width: int) -> str:
    if not answer.levers:
        return ""
    lines = ["what makes room, or speed"]
    for each in answer.levers:
        saves = ""
        if each.saves is not None:
            fits = {True: ", and then it fits", False: ", which is not enough", None: ""}
            saves = f" ({each.setting}: {numbers.size(each.saves)} less{fits[each.fits]})"
        lines += _filled(f"{each.rule.says.en}{saves}", width, first="  - ", rest="    ")
    return "\n".join(lines)


def _notes(answer: Advice, width: int) -> str:
    assumed = answer.book.assumed
    notes = [*answer.notes]
    if answer.machine.ram is not None:
        notes.append(
            f"of the RAM {numbers.size(assumed.system_memory)} are left to the system: assumed"
        )
    if answer.machine.cards:
        notes.append(
            f"of a GPU {numbers.size(assumed.gpu_margin)} are left free, as llama.cpp does, and a "
            "tenth by vLLM"
        )
    return "\n".join(line for note in notes for line in _filled(note, width, first="· ", rest="  "))


def _labelled(label: str, words_of: str, width: int) -> Iterator[str]:
    yield from _filled(words_of, width, first=f"  {label}: ", rest="    ")


def _filled(said: str, width: int, *, first: str = "", rest: str = "") -> Iterator[str]:
    yield from textwrap.wrap(
        said,
        max(width, 40),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
