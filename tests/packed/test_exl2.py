"""The structure of EXL2, on a module laid out by hand as exllamav2's packing code does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save_file

from qpipe.errors import CheckpointError
from qpipe.packed import structure

# 64 columns of a matrix of 32 rows: 32 of them in 4 bits (4 words), 32 in 2 bits (2 words).
GROUPS = np.array([4, 0, 2, 4], dtype=np.int16)

Arrays = dict[str, "npt.NDArray[np.generic]"]


def tensors() -> Arrays:
    name = "model.layers.0.mlp.up_proj"
    return {
        f"{name}.q_invperm": np.arange(64, dtype=np.int32),
        f"{name}.q_weight": np.zeros((6, 32), dtype=np.int32),
        f"{name}.q_groups": GROUPS,
        f"{name}.q_scale": np.zeros((2, 4), dtype=np.int32),
        f"{name}.q_scale_max": np.ones(2, dtype=np.float16),
        "model.norm.weight": np.ones(64, dtype=np.float16),
    }


def write(folder: Path, arrays: Arrays) -> Path:
    save_file(arrays, folder / "model.safetensors")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "quantization_config": {"quant_method": "exl2", "bits": 3.0, "head_bits": 6},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_module(tmp_path: Path) -> None:
    found = structure.read(write(tmp_path, tensors()))
    assert found.label == "EXL2-3.0bpw-h6"
    (module,) = found.modules.values()
    assert module.shape == (32, 64)
    assert module.type == "EXL2-2/4bit"
    assert set(found.plain) == {"model.norm.weight"}


@pytest.mark.parametrize(
    ("suffix", "array", "words"),
    [
        ("q_scale", np.zeros((3, 4), np.int32), "q_scale"),
        ("q_scale_max", np.ones(2, np.float32), "is F32, not F16"),
        ("q_groups", np.array([4, 0, 7, 4], np.int16), "groups of [4, 7] bits"),
        ("q_groups", np.array([4, 0, 2, 6], np.int16), "in 6 words"),
        ("q_groups", np.array([4, 4, 2, 0], np.int16), "that begin at [4, 0]"),
        ("q_invperm", None, "no model.layers.0.mlp.up_proj.q_invperm"),
    ],
)
def test_damage(
    tmp_path: Path, suffix: str, array: npt.NDArray[np.generic] | None, words: str
) -> None:
    arrays = tensors()
    del arrays[f"model.layers.0.mlp.up_proj.{suffix}"]
    if array is not None:
        arrays[f"model.layers.0.mlp.up_proj.{suffix}"] = array
    with pytest.raises(CheckpointError) as caught:
        structure.read(write(tmp_path, arrays))
    assert words in str(caught.value)
