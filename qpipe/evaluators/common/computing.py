"""What keeps transformers from measuring a checkpoint as asked, said before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qpipe.errors import CheckpointError, RecipeError
from qpipe.hf import precision
from qpipe.hf.kernels import PLAIN
from qpipe.hf.quantized import CONFIG, read_object, read_settings
from qpipe.stages.base import Order
from qpipe.stages.card import require_cuda, require_room
from qpipe.stages.device import CPU, computes_on
from qpipe.support import strict_json


def refuse(params: Any, order: Order) -> None:
    """Raise EngineMissingError for a GPU that torch cannot use, RecipeError for a kernel or a
    precision that there is not, OutOfMemoryError for a model that is larger than any GPU here.

    Of models that are not made yet, loading them says it.
    """
    require_cuda(params, field="evaluate")
    if computes_on(params) == CPU and params.kernel not in ("auto", PLAIN):
        raise RecipeError(
            f"evaluate.kernel={params.kernel}: computes on a GPU alone, and this is to be measured "
            "on the CPU; leave it out"
        )
    for role in ("model", "reference"):
        if role in order.inputs and (order.inputs[role] / CONFIG).is_file():
            _refuse_model(params, order.inputs[role])


def _refuse_model(params: Any, folder: Path) -> None:
    settings = read_settings(folder, read_object(folder / CONFIG))
    if settings is not None:
        precision.refuse(settings, params.dtype)
    needed = checkpoint_memory(folder)
    if settings is None and params.dtype in ("bfloat16", "float16"):
        needed //= 2
    require_room(params, needed, field="evaluate", name="the checkpoint")


def checkpoint_memory(folder: Path) -> int:
    """Bytes that a checkpoint's weights take once loaded: those of a plain one in float32."""
    files = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    try:
        config = strict_json.load(folder / "config.json", CheckpointError)
    except CheckpointError:
        return files  # whoever loads it says what is wrong
    if not isinstance(config, dict):
        return files
    half = (config.get("dtype") or config.get("torch_dtype")) in ("bfloat16", "float16")
    return files * 2 if half and not config.get("quantization_config") else files
