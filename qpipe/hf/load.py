"""A checkpoint folder, or a GGUF file, as a transformers model in this process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpipe.core import extras
from qpipe.errors import CheckpointError, EngineMissingError
from qpipe.hf import mixed
from qpipe.hf.implementations import attention

# The extra of qpipe that brings what reads a quantization method's checkpoints.
_EXTRAS = {
    "gptq": "gptq",
    "awq": "awq",
    "bitsandbytes": "bnb",
    "torchao": "int8",
    "compressed-tensors": "int8",
    "auto-round": "autoround",
}


@dataclass(frozen=True)
class Loaded:
    """``model`` is a transformers model in evaluation mode on ``device``, computing in ``dtype``.

    ``method`` is how its weights are quantized, None for a plain one.
    """

    model: Any
    method: str | None
    dtype: str
    device: str


def quantization(folder: Path) -> str | None:
    """The ``quant_method`` of a checkpoint's config.json, None if it is not quantized.

    Raises CheckpointError if there is no readable config.json.
    """
    config = _config(folder)
    found: Mapping[str, Any] = config.get("quantization_config") or {}
    method = found.get("quant_method")
    return None if method is None else str(method)


def _config(folder: Path) -> Mapping[str, Any]:
    path = folder / "config.json"
    try:
        config: Mapping[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error}); give a whole checkpoint folder"
        ) from error
    return config


def load(folder: Path, *, gguf_file: str | None = None) -> Loaded:
    """Load the checkpoint in ``folder``, or dequantize the GGUF file of that name in it.

    On a CPU everything is computed in float32, bf16 being slow there; on a GPU a plain checkpoint
    is too, a quantized one in its own precision, for which its kernels are made. Raises
    EngineMissingError if what reads this quantization is not installed, CheckpointError for
    weights that are missing, of another shape, or that transformers cannot load.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    from_pretrained: Any = AutoModelForCausalLM.from_pretrained
    method = None if gguf_file is not None else quantization(folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    own = method is not None and device == "cuda"
    options: dict[str, Any] = {"gguf_file": gguf_file}
    if gguf_file is None:
        options = attention(_config(folder), folder / "config.json")
    info: Mapping[str, Any] = {"missing_keys": (), "mismatched_keys": ()}
    try:
        if method is not None and mixed.has_rules(folder):
            model = mixed.load(folder, device=device)
        else:
            model, info = from_pretrained(
                folder,
                dtype="auto" if own else torch.float32,
                device_map=device,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **options,
            )
    except ImportError as error:
        raise EngineMissingError(_missing(folder, method, error)) from error
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: transformers cannot load this checkpoint: {_words(error)}"
        ) from error
    _refuse_gaps(folder, info)
    _compute_plainly(model)
    model.eval()
    return Loaded(model, method, str(model.dtype).removeprefix("torch."), device)


def _compute_plainly(model: Any) -> None:
    """Let bitsandbytes (0.50.2) dequantize 4-bit weights and multiply in float32 on every CPU.

    On one with AVX-512 BF16 it packs them anew for a kernel in bfloat16: other figures than
    elsewhere, and an AssertionError for matrices whose rows 32 does not divide.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _missing(folder: Path, method: str | None, error: ImportError) -> str:
    extra = _EXTRAS.get(method or "", "hf")
    return (
        f"{folder}: a checkpoint of method {method or 'none'} needs packages that are not here "
        f"({_words(error)}): {extras.command(extra)}"
    )


def _refuse_gaps(folder: Path, info: Mapping[str, Any]) -> None:
    """transformers fills what a checkpoint lacks with random numbers and goes on."""
    for kind in ("missing_keys", "mismatched_keys"):
        if found := sorted(map(str, info[kind])):
            shown = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
            words = "lacks" if kind == "missing_keys" else "has another shape for"
            raise CheckpointError(
                f"{folder}: the checkpoint {words} {len(found)} weights that its config.json asks "
                f"for ({shown}); get or make it again"
            )


def _words(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
