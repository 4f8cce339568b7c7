"""What `qpipe plan` says of models before they are made: each tensor's type and the exact size."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from qpipe.commands.lacking import stage_of
from qpipe.core.forecast import Forecast
from qpipe.core.graph import Node
from qpipe.core.key import Json
from qpipe.errors import QpipeError

if TYPE_CHECKING:
    from qpipe.stages.base import Preview

_WIDTH = 100
_LAYER = re.compile(r"blk\.(\d+)\.(.+)")
# Stands for a key that depends on an input's content: as long as all keys.
_SOME_KEY = "0" * 64


def previews(found: Sequence[Forecast]) -> dict[str, Preview | QpipeError]:
    """By node id, what each node that is not in the store would make, or why it would fail.

    Nodes are left out that foresee nothing, most of them where an input has to be made first.
    """
    made: dict[str, Preview | QpipeError] = {}
    with TemporaryDirectory(prefix="qpipe-plan-") as temporary:
        folders = dict(_folders(found, Path(temporary)))
        known = {item.node.id: item for item in found}
        for item in found:
            node = item.node
            if item.state == "cached":
                continue
            try:
                preview = _preview(item, folders, known, made)
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


def _folders(found: Sequence[Forecast], temporary: Path) -> Iterator[tuple[str, Path]]:
    """Where the artifact of a node is, by id; that of a local source is linked together here."""
    for item in found:
        node = item.node
        if item.artifact is not None:
            yield node.id, item.artifact.path
        elif "path" in node.runtime.where:
            folder = temporary / node.id
            folder.mkdir()
            _make(node, folder)
            yield node.id, folder


def _make(node: Node, folder: Path) -> None:
    from qpipe.stages.base import Work

    work = Work({}, folder, 1, lambda done, total, unit: None, node.runtime.where)
    stage_of(node.runtime.entry)().run(_params(node), work)


def _preview(
    item: Forecast,
    folders: Mapping[str, Path],
    known: Mapping[str, Forecast],
    made: Mapping[str, Preview | QpipeError],
) -> Preview | None:
    from qpipe.stages.base import Order, Preview

    stage = stage_of(item.node.runtime.entry)
    there = {role: node for role, node in item.node.inputs.items() if node in folders}
    if there != item.node.inputs and not stage.foresees:
        return None
    foreseen = {role: made.get(node) for role, node in item.node.inputs.items()}
    order = Order(
        {role: folders[node] for role, node in there.items()},
        key=item.key or _SOME_KEY,
        origins={role: _origin(known[node]) for role, node in there.items()},
        foreseen={role: p for role, p in foreseen.items() if isinstance(p, Preview)},
    )
    return stage.preview(_params(item.node), order)


def _origin(item: Forecast) -> Mapping[str, Json]:
    if item.artifact is not None:
        return item.artifact.manifest.origin
    node = item.node  # a local source: its digest is what it was pinned by
    params = node.params
    return {"stage": node.stage, "params": params, "digest": params["tree"], "facts": {}}


def _params(node: Node) -> object:
    return stage_of(node.runtime.entry).Params.model_validate_json(json.dumps(node.params))
