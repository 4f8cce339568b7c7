"""``python -m tests.engines.without_a_part FOLDER…``: tries to load each checkpoint without each
part of one of its packed matrices; what came of it as JSON."""

from __future__ import annotations

import gc
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from qpipe.errors import CheckpointError
from qpipe.hf.load import load

MATRIX = "model.layers.1.mlp.up_proj"
# Read by nobody: the name of the only layout, and an order of columns that is the usual one.
SPARE = (".weight_format", ".g_idx")


def tried(source: Path, out: Path) -> dict[str, str]:
    tensors: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    for path in source.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            metadata |= file.metadata() or {}
            tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name in ("config.json", "generation_config.json"):
        shutil.copy(source / name, out)
    outcomes = {}
    for part in [n for n in tensors if n.startswith(MATRIX) and not n.endswith(SPARE)]:
        others = {name: tensor for name, tensor in tensors.items() if name != part}
        save_file(others, out / "model.safetensors", metadata=metadata)
        try:
            load(out)
            outcomes[part] = "loaded"
        except CheckpointError as error:
            outcomes[part] = str(error)
    return outcomes


if __name__ == "__main__":
    found = {}
    for argument in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            found[argument] = tried(Path(argument), Path(folder))
        # GPTQModel 7.6 collects garbage with each model: not each time through all of torch.
        gc.freeze()
    print(json.dumps(found))
