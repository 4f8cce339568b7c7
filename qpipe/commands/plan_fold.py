"""A plan on one screen: a line for nodes that are alike, sizes by level and model, and the sums."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from qpipe.errors import by_reason
from qpipe.report import alike, numbers, text

if TYPE_CHECKING:
    from qpipe.session.forecasts import RunPlan
    from qpipe.session.planned import PlannedNode
    from qpipe.session.totals import Amount, Totals

WIDTH = 80
"""Columns of every line that is not a name or a message of somebody else's."""

MARKS = {"cached": "✓ cached", "run": "● run", "unknown": "? unknown"}
_USUAL = ("in the store", "not in the store")
_NAME = re.compile(r"(?P<stage>[^\[]*)(?:\[(?P<label>.*)\](?:#\w+)?)?")
# Rows of sizes, and columns, that are shown; the rest is counted.
_ROWS, _COLUMNS = 10, 4
# Notes that are shown.
_NOTES = 2


def lines(plan: RunPlan) -> Iterator[str]:
    """Yield the plan in at most `WIDTH` columns, nodes that differ by their level alone as one."""
    yield from _nodes(plan.nodes)
    yield from _sizes([node for node in plan.nodes if node.stage == "quantize" and node.size])
    yield from remarks(plan, whole=False)
    yield from sums(plan)


def remarks(plan: RunPlan, *, whole: bool) -> Iterator[str]:
    """Yield what would fail, what is to be noted, and what is left out, each cause once.

    Of the notes, the first few, wrapped; with ``whole`` all of them as they are.
    """
    if plan.guided is not None:
        said = plan.guided.words
        yield from [said] if whole else textwrap.wrap(said, WIDTH, subsequent_indent="  ")
    errors = [(node.name, str(node.error)) for node in plan.nodes if node.error is not None]
    for names, reason in alike.grouped(errors):
        yield f"{alike.nodes(names)} would fail: {reason}"
    if plan.totals.problem is not None:
        yield f"would fail: {plan.totals.problem}"
    notes = [f"{alike.nodes(names)}: {note}" for note, names in _noted(plan.nodes).items()]
    yield from _several([*notes, *plan.remarks], whole=whole)
    for line in by_reason((job.name, job.error) for job in plan.left_out):
        yield f"left out: {line}"


def _several(notes: Sequence[str], *, whole: bool) -> Iterator[str]:
    if whole:
        yield from (f"note: {note}" for note in notes)
        return
    if len(notes) > _NOTES:
        more = f" and {len(notes) - 1} more: --all"
        yield cut(f"note: {notes[0]}", WIDTH - len(more)) + more
        return
    for note in notes:
        yield from textwrap.wrap(f"note: {note}", WIDTH, subsequent_indent="  ")


def _noted(nodes: Iterable[PlannedNode]) -> dict[str, list[str]]:
    noted: dict[str, list[str]] = {}
    for node in nodes:
        notes = node.preview.facts.get("notes") if node.preview else None
        for note in notes if isinstance(notes, list) else ():
            noted.setdefault(note, []).append(node.name)
    return noted


def _parts(name: str) -> tuple[str, str]:
    """The stage's name and the label of a node's name, empty where there is none."""
    match = _NAME.fullmatch(name)
    return (name, "") if match is None else (match["stage"], match["label"] or "")


def _nodes(nodes: Sequence[PlannedNode]) -> Iterator[str]:
    groups: dict[Hashable, list[PlannedNode]] = {}
    for node in nodes:
        stage, label = _parts(node.name)
        # A name without a label is one of a kind: a text, a stage of all levels.
        same = (stage, node.state, node.made_before, _unusual(node), node.purpose)
        groups.setdefault(same if label else (node.id,), []).append(node)
    rows = [_row(group) for group in groups.values()]
    width = max(len(amount) for _, amount, _ in rows)
    for mark, amount, what in rows:
        yield cut(f"{mark:<9}  {amount:>{width}}{'  ' * bool(width)}{what}", WIDTH)


def _row(nodes: Sequence[PlannedNode]) -> tuple[str, str, str]:
    first = nodes[0]
    stage, _ = _parts(first.name)
    what = stage if len(nodes) == 1 else f"{stage} ×{len(nodes)}"
    labels = [label for node in nodes if (label := _parts(node.name)[1])]
    why = _unusual(first) or "in the store if its inputs come out as before" * first.made_before
    words = "; ".join(filter(None, (why, factored(labels), first.purpose)))
    return (
        MARKS[first.state],
        _amount(nodes),
        text.printable(": ".join(filter(None, (what, words)))),
    )


def _unusual(node: PlannedNode) -> str:
    """Why a node has its state, where its mark does not say so."""
    usual = node.why in _USUAL or node.why.startswith("unknown until")
    return "" if usual else node.why


def _amount(nodes: Sequence[PlannedNode]) -> str:
    sizes = [node.size for node in nodes if node.size is not None]
    if not sizes:
        return ""
    near = {node.precision for node in nodes}
    sign = "~" if "about" in near else "≤" if "at most" in near else ""
    return sign + numbers.size(sum(sizes))


def _size(node: PlannedNode) -> str:
    """The size of one file, marked where it is not what its name says."""
    return _amount([node]) + ("!" if node.facts.get("fallback") else "")


def factored(labels: Sequence[str]) -> str:
    """Labels in short: ``a Q8_0``, ``a Q4_0``, ``b Q8_0``, ``b Q4_0`` as ``a, b × Q8_0, Q4_0``."""
    values = product(labels)
    if values is None or len(labels) < 2:
        return ", ".join(labels)
    return " × ".join(", ".join(each) for each in values)


def product(labels: Sequence[str]) -> list[list[str]] | None:
    """The words of labels by place, where the labels are all combinations of them; else None."""
    split = [label.split(" ") for label in labels]
    if len({len(words) for words in split}) != 1:
        return None
    values = [[*dict.fromkeys(column)] for column in zip(*split, strict=True)]
    combinations = 1
    for each in values:
        combinations *= len(each)
    return values if combinations == len(labels) == len(set(labels)) else None


def _sizes(models: Sequence[PlannedNode]) -> Iterator[str]:
    if not models:
        return
    labels = [_parts(node.name)[1] for node in models]
    places = product(labels)
    varying = [each for each in places or () if len(each) > 1]
    yield ""
    if len(varying) == 2 and min(map(len, varying)) <= _COLUMNS:
        yield from _matrix(models, varying, labels)
    else:
        yield from _list(models)
    if any(node.facts.get("fallback") for node in models):
        yield "!: its rows or the model fit no type of that name: it holds others (--all)"


def _matrix(
    models: Sequence[PlannedNode], varying: Sequence[Sequence[str]], labels: Sequence[str]
) -> Iterator[str]:
    """Sizes of all combinations of two settings, the one with fewer values across."""
    columns, rows = sorted(varying, key=len)
    by_words = {
        frozenset(label.split(" ")): node for label, node in zip(labels, models, strict=True)
    }
    fixed = frozenset.intersection(*by_words)
    wide = (WIDTH - max(map(len, rows)) - 2 * len(columns)) // len(columns)
    cells = [
        [row, *(_size(by_words[fixed | {row, column}]) for column in columns)]
        for row in rows[:_ROWS]
    ]
    head = ["", *_headings(columns, wide)]
    yield from text.table(head, cells, right="l" + "r" * len(columns)).split("\n")
    yield from _more(len(rows))


def _headings(names: Sequence[str], width: int) -> list[str]:
    """Names in so many columns, their ends where their beginnings are not enough."""
    cuts = [cut(name, width) for name in names]
    if len(set(cuts)) == len(cuts):
        return cuts
    return [name if len(name) <= width else "…" + name[1 - width :] for name in names]


def _list(models: Sequence[PlannedNode]) -> Iterator[str]:
    names = _without_common([_parts(node.name)[1] or node.name for node in models])
    rows = [[cut(name, 30), *_of_model(node)] for name, node in zip(names, models, strict=True)]
    yield from (
        cut(line, WIDTH)
        for line in text.table(("", "SIZE", "BITS", "TENSORS"), rows[:_ROWS], right="lrrl").split(
            "\n"
        )
    )
    yield from _more(len(rows))


def _without_common(labels: Sequence[str]) -> list[str]:
    """Labels without the words in front that all of them have."""
    split = [label.split(" ") for label in labels]
    while len(split) > 1 and len({words[0] for words in split}) == 1 and min(map(len, split)) > 1:
        split = [words[1:] for words in split]
    return [" ".join(words) for words in split]


def _more(rows: int) -> Iterator[str]:
    if rows > _ROWS:
        yield f"… and {rows - _ROWS} more: --all"


def _of_model(node: PlannedNode) -> tuple[str, str, str]:
    bits, types = node.facts.get("bits_per_weight"), node.facts.get("tensor_types")
    kinds = types if isinstance(types, dict) else {}
    # Vectors are F32 in every file, and say the least.
    counts = sorted(kinds.items(), key=lambda kind: (kind[0] == "F32", -kind[1]))
    words = ", ".join(f"{count} {kind}" for kind, count in counts)
    return _size(node), f"{bits:.2f}" if isinstance(bits, float) else "", words


def sums(plan: RunPlan) -> Iterator[str]:
    """Yield what is cached and what is not, and bytes: to fetch, of all results, and on disk."""
    totals, counts = plan.totals, plan.counts
    yield ""
    yield (
        f"{len(plan.nodes)} nodes: {counts['cached']} cached, {counts['run']} to run, "
        f"{counts['unknown']} unknown until their inputs are made"
    )
    if plan.seconds:
        span = numbers.duration(sum(plan.seconds.values()))
        left = counts["run"] + counts["unknown"]
        yield f"time:     about {span} for {len(plan.seconds)} of {left} nodes, one after another"
    yield from cost_lines(plan)
    if totals.download.nodes:
        yield f"download: {amount(totals.download, 'source')}"
    if totals.results.nodes:
        yield f"results:  {amount(totals.results, 'model')}"
    free = numbers.size(totals.free)
    yield f"disk:     {amount(totals.disk)}{_at_once(totals)}; {free} free"


def _at_once(totals: Totals) -> str:
    """The most that there is at a time, in words, where some of what is written may go."""
    if totals.at_once is None or totals.at_once >= totals.disk.bytes:
        return ""
    words = f"{numbers.size(totals.at_once)} at a time"
    return f", {words}" if totals.results_only else f"; {words} with run.keep=results"


def cost_lines(plan: RunPlan) -> Iterator[str]:
    """Yield the most memory that a node takes, and the most of a card, with the stage."""
    memory, gpu = plan.cost.memory, plan.cost.gpu
    if memory is not None and memory.memory is not None:
        basis = "as measured here" if memory.measured else "as booked"
        yield f"memory:   {numbers.size(memory.memory)} at most, by {memory.stage} ({basis})"
    if gpu is not None:
        cards = "1 GPU" if gpu.gpus == 1 else f"{gpu.gpus} GPUs"
        each = "" if gpu.gpu_memory is None else f", about {numbers.size(gpu.gpu_memory)} each"
        yield f"gpu:      {cards}{each}, by {gpu.stage}"


def amount(total: Amount, noun: str = "") -> str:
    """A sum in words: ``about 1.2 GiB in 8 models``."""
    near = "" if total.precision == "exact" else f"{total.precision} "
    words = f"{near}{numbers.size(total.bytes)}"
    if noun:
        words += f" in {total.nodes} {noun}{'' if total.nodes == 1 else 's'}"
    return f"{words}, without {total.unknown} of unknown size" if total.unknown else words


def cut(words: str, width: int) -> str:
    """The words in at most ``width`` columns."""
    if text.width_of(words) <= width:
        return words
    while text.width_of(words) > width - 1:
        words = words[:-1]
    return f"{words}…"
