"""What `qpipe plan` says of models before they are made: each tensor's type and the exact size."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from qpipe.session.inputs import AtHand
from qpipe.session.requirements import stage_of
from qpipe.session.refusals import refuses
from qpipe.core.forecast import Forecast
from qpipe.errors import QpipeError

if TYPE_CHECKING:
    from qpipe.stages.base import Preview

_WIDTH = 100
_LAYER = re.compile(r"blk\.(\d+)\.(.+)")


def previews(found: Sequence[Forecast]) -> dict[str, Preview | QpipeError]:
    """By node id, what each node that is not in the store would make, or why it would fail.

    Nodes are left out that foresee nothing, most of them where an input has to be made first.
    """
    made: dict[str, Preview | QpipeError] = {}
    with TemporaryDirectory(prefix="qpipe-plan-") as temporary:
        there = AtHand(found, Path(temporary))
        for item in found:
            node = item.node
            if item.state == "cached":
                continue
            try:
                with there.in_users_words(item):
                    preview = _preview(item, there, made)
            except QpipeError as error:
                made[node.id] = error
            else:
                made |= {} if preview is None else {node.id: preview}
    return made


def lines(preview: Preview) -> Iterator[str]:
    """Size, bits per weight, and below them the tensors of each type; of no model, the size."""
    facts = preview.facts
    amount = (
        f"{facts['size_bytes']:,} bytes"
        if "size_bytes" in facts
        else f"{facts['tokens_scored']:,} tokens scored"
    )
    words = f"{facts['format']}, {'at most ' if preview.at_most else ''}{amount}"
    if not preview.tensors:
        yield words
        return
    yield f"{words}, {facts['bits_per_weight']:.3f} bits per weight"
    if isinstance(notes := facts.get("notes"), list):
        yield from (f"  note: {note}" for note in notes)
    by_type: dict[str, list[str]] = {}
    for name, kind in preview.tensors.items():
        by_type.setdefault(kind, []).append(name)
    width = max(map(len, by_type))
    for kind, names in sorted(by_type.items()):
        yield from textwrap.wrap(
            "  ".join(shortened(names)),
            _WIDTH,
            initial_indent=f"  {kind:<{width}}  ",
            subsequent_indent=" " * (width + 4),
            break_long_words=False,
            break_on_hyphens=False,
        )


def shortened(names: Iterable[str]) -> list[str]:
    """Tensors that differ only by their layer as one: ``blk.{0-3,7}.attn_v.weight``."""
    layers: dict[str, list[int] | None] = {}
    for name in names:
        if match := _LAYER.fullmatch(name):
            found = layers.setdefault(match[2], [])
            assert found is not None
            found.append(int(match[1]))
        else:
            layers[name] = None
    return [
        name if numbers is None else f"blk.{{{_ranges(sorted(numbers))}}}.{name}"
        for name, numbers in layers.items()
    ]


def _ranges(numbers: Sequence[int]) -> str:
    """``[0, 1, 2, 5]`` as ``0-2,5``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _preview(
    item: Forecast, there: AtHand, made: Mapping[str, Preview | QpipeError]
) -> Preview | None:
    from qpipe.stages.base import Preview

    stage = stage_of(item.node.runtime.entry)
    order, params = there.order(item), there.params(item.node)
    if refuses(item.node) and not item.made_before:
        stage.refuse(params, there.ahead(item))
    if order.inputs.keys() != item.node.inputs.keys() and not stage.foresees:
        return None
    coming = {role: made.get(node) for role, node in item.node.inputs.items()}
    foreseen = {role: p for role, p in coming.items() if isinstance(p, Preview)}
    return stage.preview(params, replace(order, foreseen=foreseen))
