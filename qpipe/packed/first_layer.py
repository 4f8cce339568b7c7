"""A model of its own out of the first layer of a checkpoint: small, and with every kind of part."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qpipe.gguf.checkpoint import open_checkpoint
from qpipe.packed.write import Entry, write

_LAYER = re.compile(r"\.(?:layers|h|blocks|block)\.(\d+)\.")
_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")


def count(folder: Path) -> int:
    """The number of layers of a checkpoint, by its tensors' names; 0: they are named otherwise.

    Raises CheckpointError.
    """
    found = [_LAYER.search(name) for name in open_checkpoint(folder).tensors]
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def extract(source: Path, out: Path) -> None:
    """Write the first layer, and all that is in no layer, as a checkpoint in ``out``.

    Raises CheckpointError.
    """
    opened = open_checkpoint(source)
    kept = []
    for name, tensor in opened.tensors.items():
        layer = _LAYER.search(name)
        if layer is None or layer[1] == "0":
            kept.append(Entry.copy(tensor))
    write(out / "model.safetensors", kept)
    (out / "config.json").write_text(json.dumps(_with_one_layer(opened.config.fields)))


def _with_one_layer(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Counts become 1, lists with an item a layer are cut; nested configs too."""
    layers = next((fields[name] for name in _COUNTS if isinstance(fields.get(name), int)), None)
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if name in _COUNTS:
            found[name] = 1
        elif isinstance(value, list) and layers is not None and len(value) == layers > 1:
            found[name] = value[:1]
        elif isinstance(value, dict):
            found[name] = _with_one_layer(value)
        else:
            found[name] = value
    return found
