"""GPTQ checkpoints with rules for single modules (``dynamic``), read by GPTQModel.

transformers reads such a checkpoint as if all modules were alike, and fills what it then lacks with
random numbers; GPTQModel and vLLM follow the rules.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def has_rules(folder: Path) -> bool:
    """Whether config.json has rules for single modules."""
    config = json.loads((folder / "config.json").read_bytes())
    found = config.get("quantization_config") or {}
    return found.get("quant_method") == "gptq" and bool(found.get("dynamic"))


def load(folder: Path, *, device: str) -> Any:
    """The transformers model inside; on a CPU in float32, as `qpipe.hf.load` has all others.

    GPTQModel patches transformers and must be the only thing in its process. Raises what it and
    transformers raise.
    """
    # It takes one worker where there are two cores or fewer, and then waits for a second one.
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
    import torch
    from gptqmodel import BACKEND, GPTQModel

    model = GPTQModel.load(
        str(folder), device=device, backend=BACKEND.TORCH, dtype=torch.bfloat16
    ).model
    return model if device == "cuda" else model.float()
