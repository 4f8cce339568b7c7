"""A run's graph as boxes: a box for each step of each model, with what was cached and what it cost.

They are a list that reads without the picture; page.css places them, graph.js draws the lines.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from qpipe.report import numbers
from qpipe.report.text import printable
from qpipe.results.comparison import ModelRow

_SHARED = ""


@dataclass
class NodeGroup:
    """The nodes of one step of one model; ``level`` is that of the first from the sources."""

    step: str
    model: str
    level: int
    counts: Counter[str] = field(default_factory=Counter)
    made: float = 0.0
    """Seconds of those that ran."""
    saved: float = 0.0
    """Seconds that those which are cached took once."""
    sources: set[tuple[str, str]] = field(default_factory=set)


def groups(nodes: Sequence[Mapping[str, Any]], rows: Sequence[ModelRow]) -> list[NodeGroup]:
    """Return the groups of a run's nodes, model by model from the sources on; none of a run of an
    older qpipe, which did not say what nodes are made from."""
    if not any(node["inputs"] for node in nodes):
        return []
    inputs = {node["name"]: [*map(str, (node["inputs"] or {}).values())] for node in nodes}
    levels: dict[str, int] = {}
    for name, sources in inputs.items():
        levels[name] = 1 + max((levels.get(source, -1) for source in sources), default=-1)
    models = _models(nodes, inputs, rows)
    made: dict[tuple[str, str], NodeGroup] = {}
    for node in nodes:
        name = node["name"]
        at = _step(name), models[name]
        group = made.setdefault(at, NodeGroup(*at, levels[name]))
        group.level = min(group.level, levels[name])
        group.counts[node["status"]] += 1
        group.made += (node["seconds"] or 0.0) if node["status"] == "ran" else 0.0
        group.saved += (node["seconds"] or 0.0) if node["status"] == "cached" else 0.0
        before = {(_step(source), models[source]) for source in inputs[name] if source in models}
        group.sources |= before - {at}
    order = [*dict.fromkeys(row.model or _SHARED for row in rows), _SHARED]
    place = {model: number for number, model in enumerate(dict.fromkeys(order))}
    return sorted(made.values(), key=lambda group: (place.get(group.model, -1), group.level))


def _step(name: str) -> str:
    """The name of a node without which one it is."""
    return re.split(r"[\[:]", name, maxsplit=1)[0]


def _models(
    nodes: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, Sequence[str]],
    rows: Iterable[ModelRow],
) -> dict[str, str]:
    """The model that each node is for: the one that is made of it, else the one that it is made
    from; none of what several share."""
    of_key = {row.key: row.model or _SHARED for row in rows if row.key}
    serves = {
        node["name"]: {of_key[node["key"]]} if node["key"] in of_key else set[str]()
        for node in nodes
    }
    for name in reversed(list(inputs)):
        for source in inputs[name]:
            serves.setdefault(source, set()).update(serves[name])
    for name, sources in inputs.items():
        if not serves[name]:
            single = [serves[source] for source in sources if len(serves[source]) == 1]
            serves[name] = set().union(*single)
    return {name: of.pop() if len(of) == 1 else _SHARED for name, of in serves.items()}


def drawn(shown: Sequence[NodeGroup], label: str) -> str:
    """Return the list of boxes; empty for none."""
    if not shown:
        return ""
    ids = {(group.step, group.model): number for number, group in enumerate(shown)}
    most = max(max(group.made, group.saved) for group in shown) or 1.0
    places = _lines(shown)
    boxes = "\n".join(
        _box(group, ids, most, line) for group, line in zip(shown, places, strict=True)
    )
    columns = 1 + max(group.level for group in shown)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">'
        f'<ol class="graph" style="--columns: {columns}">\n{boxes}\n</ol></div>'
    )


def _lines(shown: Sequence[NodeGroup]) -> Iterator[int]:
    """The line of each box in its column: each model's boxes lie below those of the one before."""
    top, used, model = 1, Counter[int](), None
    for group in shown:
        if group.model != model:
            top += max(used.values(), default=0)
            used, model = Counter(), group.model
        yield top + used[group.level]
        used[group.level] += 1


def _box(group: NodeGroup, ids: Mapping[tuple[str, str], int], most: float, line: int) -> str:
    sources = [str(ids[source]) for source in sorted(group.sources) if source in ids]
    counts = ", ".join(
        f'{count} <span data-word="{status}">{status}</span>'
        for status, count in sorted(group.counts.items())
    )
    seconds = [
        f'<span class="cost {kind}" style="--share: {value / most:.3f}">'
        f'<span data-word="{word}">{word}</span> {numbers.duration(value)}</span>'
        for kind, word, value in (("ran", "took", group.made), ("cached", "saved", group.saved))
        if value
    ]
    model = f'<span class="soft">{_text(group.model)}</span>' if group.model else ""
    bad = " failed" if group.counts["failed"] else ""
    return (
        f'<li class="box{bad}" data-group="{ids[group.step, group.model]}" '
        f'data-from="{" ".join(sources)}" style="grid-area: {line} / {group.level + 1}">'
        f"<strong>{_text(group.step)}</strong> {model}<span>{counts}</span>{''.join(seconds)}</li>"
    )


def _text(words: str) -> str:
    return escape(printable(words))
