"""A model of its own out of the first layer of a checkpoint: small, and with every kind of part.

`python -m qpipe.packed.first_layer FOLDER DEVICE` loads a checkpoint and computes with it once, in
a process that has done nothing else. Ends with 1, and one line that says why, if that does not
work.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qpipe.errors import QpipeError
from qpipe.gguf.checkpoint import open_checkpoint
from qpipe.packed.write import TensorStream, write

_LAYER = re.compile(r"\.(?:layers|h|blocks|block)\.(\d+)\.")
_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
# Any tokens do; every vocabulary has these.
_TOKENS = [1, 2, 3, 4, 5, 6, 7, 8]


def count(folder: Path) -> int:
    """The number of layers of a checkpoint, by its tensors' names; 0: they are named otherwise.

    Raises CheckpointError.
    """
    matches = [_LAYER.search(name) for name in open_checkpoint(folder).tensors]
    return 1 + max((int(match[1]) for match in matches if match), default=-1)


def extract(source: Path, out: Path) -> None:
    """Write the first layer, and all that is in no layer, as a checkpoint in ``out``.

    Raises CheckpointError.
    """
    opened = open_checkpoint(source)
    entries = []
    for name, tensor in opened.tensors.items():
        layer = _LAYER.search(name)
        if layer is None or layer[1] == "0":
            entries.append(TensorStream.copy(tensor))
    write(out / "model.safetensors", entries)
    (out / "config.json").write_text(json.dumps(_with_one_layer(opened.config.fields)))


def _with_one_layer(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Counts become 1, lists with an item a layer are cut; nested configs too."""
    layers = next((fields[name] for name in _COUNTS if isinstance(fields.get(name), int)), None)
    config: dict[str, Any] = {}
    for name, value in fields.items():
        if name in _COUNTS:
            config[name] = 1
        elif isinstance(value, list) and layers is not None and len(value) == layers > 1:
            config[name] = value[:1]
        elif isinstance(value, dict):
            config[name] = _with_one_layer(value)
        else:
            config[name] = value
    return config


def main(folder: Path, device: str) -> int:
    """0 if its logits are numbers."""
    import torch

    from qpipe.hf.load import load

    try:
        loaded = load(folder, device=device)
    except QpipeError as error:
        print(error)
        return 1
    with torch.inference_mode():
        logits = loaded.model(input_ids=torch.tensor([_TOKENS], device=loaded.device)).logits
    if not bool(torch.isfinite(logits).all()):
        print(f"{folder.name}: its logits are no finite numbers")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
