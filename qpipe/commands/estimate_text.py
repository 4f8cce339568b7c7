"""An estimate as tables for people, and as a document."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from qpipe.commands import plan_fold, plan_text
from qpipe.commands.output import width
from qpipe.memory import MemoryParts
from qpipe.report import numbers, text
from qpipe.session.estimating.estimate import EstimatedFormat, ModelEstimate
from qpipe.session.estimating.fitting import Fit

if TYPE_CHECKING:
    from qpipe.session.forecasts import RunPlan

_UNITS = {"GiB": 1 << 30, "MiB": 1 << 20}
_HEAD = ("FORMAT", "FILE", "BPW", "WEIGHTS", "KV", "COMPUTE", "TOTAL", "FITS", "CTX", "T/S")
_KINDS = {"none": "without a cache"}
_PARTS = ("weights", "kv_cache", "states", "compute", "overhead")


def document(answer: ModelEstimate) -> dict[str, Any]:
    """Return the fields of the JSON answer."""
    asked = answer.conditions
    return {
        "model": answer.model.name,
        "runtime": asked.runtime,
        "context": answer.context,
        "sequences": asked.sequences,
        "flash_attention": asked.flash_attention is not False,
        "gpus": [{"name": card.name, "memory_bytes": card.memory} for card in asked.cards],
        "ram_bytes": asked.ram,
        "parameters": answer.parameters[0],
        "active_parameters": answer.parameters[1],
        "layers": [
            {"kind": kind, "layers": count, "cache_bytes": cache, "state_bytes": states}
            for kind, (count, cache, states) in answer.rows[0].memory.by_kind().items()
        ],
        "rows": [_row(row) for row in answer.rows],
        "left_out": [{"format": name, "why": why} for name, why in answer.left_out],
        "notes": list(answer.notes),
        "plan": None if answer.plan is None else _plan(answer.plan),
    }


def _plan(plan: RunPlan) -> dict[str, Any]:
    """Return the cost of making the models of a recipe, as `qpipe plan --json` has it."""
    whole = plan_text.document(plan)
    return {name: whole[name] for name in ("totals", "seconds", "cost")}


def _row(row: EstimatedFormat) -> dict[str, Any]:
    memory, fit = row.memory, row.fit
    return {
        "format": row.format.name,
        "files": row.format.files,
        "quantize": dict(row.format.quantize),
        "runtime": row.runtime,
        "asked_runtime": row.asked,
        "size_bytes": row.size.file_bytes,
        "tensor_bytes": row.size.tensor_bytes,
        "bits_per_weight": row.size.bits_per_weight,
        "memory_bytes": {**{part: getattr(memory, part) for part in _PARTS}, "total": memory.total},
        "devices": {name: _parts(each) for name, each in memory.devices.items() if each.total},
        "active_weight_bytes": memory.active_weights,
        "read_weight_bytes": memory.read_weights,
        "repacked_bytes": row.repacked,
        "kv_types": {"k": row.setting.kv_k, "v": row.setting.kv_v},
        "unknown": list(row.unknown),
        "fits": {
            "answer": fit.answer,
            "layers": fit.layers,
            "of": fit.of,
            "lacking_bytes": fit.lacking,
            "longest_context": fit.context,
        },
        "tokens_per_second_at_most": None if row.speed is None else asdict(row.speed),
        "notes": list(row.notes),
    }


def _parts(parts: MemoryParts) -> dict[str, int]:
    return {**{part: getattr(parts, part) for part in _PARTS}, "total": parts.total}


def lines(answer: ModelEstimate) -> Iterator[str]:
    """Yield a heading, a table for each runtime, and what is assumed."""
    yield from _heading(answer)
    unit = "GiB" if max(row.size.file_bytes for row in answer.rows) >= _UNITS["GiB"] else "MiB"
    for runtime in dict.fromkeys(row.runtime for row in answer.rows):
        rows = [row for row in answer.rows if row.runtime == runtime]
        yield ""
        yield _wrapped(f"{_about(answer, rows[0])}; in {unit}")
        speeds = any(row.speed is not None for row in rows)
        count = len(_HEAD) if speeds else len(_HEAD) - 1
        yield text.fitting(
            _HEAD[:count],
            [_cells(row, _UNITS[unit])[:count] for row in rows],
            right="lrrrrrrrrr"[:count],
            width=width(),
            less=("COMPUTE", "WEIGHTS", "CTX"),
        )
    yield ""
    yield from _legend(answer)
    for why in dict.fromkeys(why for _, why in answer.left_out):
        names = ", ".join(name for name, each in answer.left_out if each == why)
        yield _wrapped(f"left out: {names}: {why}")
    for note in dict.fromkeys((*answer.notes, *(n for row in answer.rows for n in row.notes))):
        yield _wrapped(f"· {note}")
    if answer.plan is not None:
        yield ""
        yield "To make what the recipe asks for, as `qpipe plan` has it:"
        yield from (line for line in plan_fold.sums(answer.plan) if line)


def _wrapped(line: str) -> str:
    """A sentence in lines of the terminal's width, or of 100."""
    return textwrap.fill(line, width() or 100, subsequent_indent="  ", break_on_hyphens=False)


def _context(tokens: int) -> str:
    """A length in 1,024 tokens; none, where no context fits."""
    return f"{tokens // 1024}k" if tokens >= 1024 else str(tokens or "none")


def _heading(answer: ModelEstimate) -> Iterator[str]:
    first = answer.rows[0]
    kinds = first.memory.by_kind()
    named = ((count, _KINDS.get(kind, kind)) for kind, (count, _, _) in kinds.items())
    layers = ", ".join(f"{count} {kind}" for count, kind in named)
    count, active = answer.parameters
    some = f", {_billions(active)} read for a token" if active < 0.6 * count else ""
    yield _wrapped(f"{answer.model.name}: {_billions(count)} weights{some}; layers: {layers}")


def _billions(count: float) -> str:
    return f"{count / 1e9:.3g} billion" if count >= 1e9 else f"{count / 1e6:.3g} million"


def _about(answer: ModelEstimate, row: EstimatedFormat) -> str:
    """A line on how a runtime is taken to run it."""
    asked, setting = answer.conditions, row.setting
    kv = setting.kv_k if setting.kv_k == setting.kv_v else f"{setting.kv_k}/{setting.kv_v}"
    several = f" × {asked.sequences}" if asked.sequences > 1 else ""
    flash = "" if setting.flash else ", no flash attention"
    where = f" on {_place(answer)}" if row.fit.answer else ""
    named = row.runtime if row.asked else f"not for {asked.runtime}; with {row.runtime}"
    context = f"{numbers.count(answer.context)} tokens{several}"
    return f"{named}{where}: {context}, KV cache {kv}{flash}"


def _place(answer: ModelEstimate) -> str:
    cards = answer.conditions.cards
    if cards:
        names = dict.fromkeys(card.name for card in cards)
        return ", ".join(names) + (f" ({len(cards)} cards)" if len(cards) > 1 else "")
    return f"the CPU, {numbers.size(answer.conditions.ram or 0)} of memory"


def _cells(row: EstimatedFormat, unit: int) -> list[str]:
    """The fields of a row, with sizes in ``unit`` bytes."""
    memory, context = row.memory, row.fit.context
    sizes = (memory.weights, memory.kv_cache + memory.states, memory.compute, memory.total)
    return [
        row.format.name,
        _digits(row.size.file_bytes / unit),
        f"{row.size.bits_per_weight:.2f}",
        *(_digits(size / unit) for size in sizes),
        _fits(row.fit),
        "" if context is None else _context(context),
        ""
        if row.speed is None
        else f"{row.speed.generation:.{0 if row.speed.generation > 10 else 1}f}",
    ]


def _fits(fit: Fit) -> str:
    if fit.answer is None:
        return "?"
    return {"partly": f"{fit.layers}/{fit.of}", "no": "no"}.get(fit.answer, "yes")


def _digits(value: float) -> str:
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def _legend(answer: ModelEstimate) -> Iterator[str]:
    both = any(len([p for p in row.memory.devices.values() if p.total]) > 1 for row in answer.rows)
    where = ", on GPU and CPU together" if both else ""
    yield _wrapped(
        "KV: the cache, and states of layers that have those. TOTAL: with what the runtime takes"
        f"{where}."
    )
    answers = {row.fit.answer for row in answer.rows}
    partly = next((row.fit for row in answer.rows if row.fit.answer == "partly"), None)
    if partly is not None:
        yield f"{partly.layers}/{partly.of}: layers that fit on the GPU; the others run on the CPU."
    if answers - {None}:
        yield "CTX: the longest context with which all of it fits."
    twice = [row.format.name for row in answer.rows if row.repacked > 0.1 * row.memory.weights]
    if twice:
        yield _wrapped(
            f"Weights of {', '.join(twice)} are repacked for this processor; the file stays mapped "
            "beside them until memory is short, so that more is resident than TOTAL."
        )
    if any(row.speed is not None for row in answer.rows):
        yield _wrapped(f"T/S: tokens written a second, at most, at the start; by {_basis(answer)}")
    elif answer.conditions.cards:
        yield "No speed: of a card its memory alone is known; name it, as --gpu 'RTX 4090'."
    else:
        yield "No speed: this machine's is not measured (`qpipe doctor --calibrate`)."
    if None in answers:
        yield "?: name a card, as --gpu 24GB."


def _basis(answer: ModelEstimate) -> str:
    bases = dict.fromkeys(row.speed.basis for row in answer.rows if row.speed is not None)
    return "; or ".join(bases) + "."
