"""Small checkpoints written by hand, for tests of their structure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.packed.write import TensorStream, write

Arrays = Mapping[str, npt.NDArray[Any]]

_NAMES = {
    "float32": "F32", "float16": "F16", "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8",
    "int64": "I64", "uint32": "U32", "uint16": "BF16", "bool": "F8_E4M3",
}  # fmt: skip


def checkpoint(folder: Path, tensors: Arrays, **config: Any) -> Path:
    """A folder with these tensors; uint16 stands for bf16, bool for FP8."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").unlink(missing_ok=True)
    write(folder / "model.safetensors", [entry(name, array) for name, array in tensors.items()])
    fields = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **config}
    (folder / "config.json").write_text(json.dumps(fields))
    return folder


def entry(name: str, array: npt.NDArray[Any]) -> TensorStream:
    data = np.ascontiguousarray(array).tobytes()
    return TensorStream(
        name, _NAMES[array.dtype.name], array.shape, len(data), lambda: iter([data])
    )


def plain() -> dict[str, npt.NDArray[Any]]:
    """An embedding, a norm, and a matrix of 64 rows and 128 columns, in half precision."""
    random = np.random.default_rng(0)
    return {
        "model.embed_tokens.weight": random.normal(size=(32, 128)).astype(np.float16),
        "model.norm.weight": np.ones(128, np.float16),
        "model.layers.0.mlp.up_proj.weight": random.normal(size=(64, 128)).astype(np.float16),
    }


def around(packed: Arrays) -> dict[str, npt.NDArray[Any]]:
    """`plain` with the matrix in another form."""
    kept = {name: array for name, array in plain().items() if "up_proj" not in name}
    return {**kept, **{f"model.layers.0.mlp.up_proj.{name}": part for name, part in packed.items()}}


_ONES: dict[str, int] = {"uint16": 0x3F80, "bool": 0x38, "uint8": 127}


def scales_of(parts: Arrays) -> list[str]:
    """The tensors of a matrix that hold scales as numbers, or as powers of two."""
    ends = ("scales", "_scale", "_scale_inv", "absmax", "SCB")
    kinds = ("float32", "float16", *_ONES)
    return [n for n in parts if n.endswith(ends) and parts[n].dtype.name in kinds]


def scaled(packed: Arrays) -> dict[str, npt.NDArray[Any]]:
    """The parts of a matrix with all scales 1."""
    made = dict(packed)
    for name in scales_of(packed):
        kind = packed[name].dtype.name
        stored = np.full(
            packed[name].shape, _ONES.get(kind, 1), "uint8" if kind == "bool" else kind
        )
        made[name] = stored.view(bool) if kind == "bool" else stored
    return made
