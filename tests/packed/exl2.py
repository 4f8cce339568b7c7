"""EXL2 checkpoints as exllamav2's conversion/compile.py leaves them: made by hand, of any model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from qpipe.gguf.checkpoint import read_tensors

Arrays = dict[str, npt.NDArray[Any]]


def module(name: str, rows: int, columns: int) -> Arrays:
    """A matrix in 4 bits, half of its columns a group, its rows filled up to 32."""
    padded = -(-rows // 32) * 32
    words = columns * 4 // 32
    return {
        f"{name}.q_invperm": np.arange(columns, dtype=np.int32),
        f"{name}.q_weight": np.zeros((words, padded), np.int32),
        f"{name}.q_groups": np.array([4, 0, 4, words // 2], np.int16),
        f"{name}.q_scale": np.zeros((2, padded // 8), np.int32),
        f"{name}.q_scale_max": np.ones(2, np.float16),
    }


def written(source: Path, out: Path, *, files: int = 1) -> Path:
    """A folder as it leaves it: with a head of its own, and all other files of the source."""
    arrays: Arrays = {}
    for name, tensor in read_tensors(source).items():
        if len(tensor.shape) == 2 and "embed" not in name:
            arrays |= module(name.removesuffix(".weight"), *tensor.shape)
        else:
            arrays[name] = np.zeros(tensor.shape, np.float16)
        if "embed_tokens" in name:
            arrays |= module("lm_head", *tensor.shape)
    _save(arrays, out, files)
    for path in source.iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, out)
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "exl2", "bits": 4.0, "head_bits": 4}
    (out / "config.json").write_text(json.dumps(config))
    return out


def _save(arrays: Arrays, out: Path, files: int) -> None:
    out.mkdir(exist_ok=True)
    names: Sequence[str] = ["output.safetensors"]
    if files > 1:
        names = [f"output-{n:05}-of-{files:05}.safetensors" for n in range(1, files + 1)]
    for at, name in enumerate(names):
        save_file({key: arrays[key] for key in sorted(arrays)[at::files]}, out / name)
