"""A checkpoint as it is, and what is wrong with it in the words of who gave it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpipe.engines.precision import Cast, CastParams
from qpipe.errors import CheckpointError
from qpipe.stages.base import Order, Work
from tests.packed.checkpoints import around, checkpoint

AS_IT_IS = CastParams(to="checkpoint", engine="cast", dtype="source")
NVFP4 = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}
FP8 = {"num_bits": 8, "type": "float", "strategy": "channel"}


def _config(weights: dict[str, Any]) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}


def nvfp4(folder: Path, **changes: Any) -> Path:
    parts = {
        "weight_packed": np.ones((64, 64), np.uint8),
        "weight_scale": np.ones((64, 8), np.bool_),
        "weight_global_scale": np.ones(1, np.float32),
    }
    return checkpoint(folder, around(parts), quantization_config=_config(NVFP4 | changes))


def fp8(folder: Path, scale: float = 1.0, **changes: Any) -> Path:
    scales = np.full((64, 1), scale, np.float32)
    parts = {"weight": np.ones((64, 128), np.bool_), "weight_scale": scales}
    return checkpoint(folder, around(parts), quantization_config=_config(FP8 | changes))


def _refused(folder: Path, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        Cast.refuse(AS_IT_IS, Order({"checkpoint": folder}))


def test_what_config_json_contradicts_is_refused_before_the_work(tmp_path: Path) -> None:
    """transformers goes by config.json: it fails late, or computes another model."""
    for whole in (nvfp4(tmp_path / "a"), fp8(tmp_path / "b")):
        Cast.refuse(AS_IT_IS, Order({"checkpoint": whole}))
    _refused(nvfp4(tmp_path / "c", group_size=32), "are NVFP4, and config.json says 4 bits in gro")
    _refused(fp8(tmp_path / "d", type="int"), "are FP8, and config.json says .*, as integers; they")


def test_a_damaged_scale_is_named_in_the_file_that_was_given(tmp_path: Path) -> None:
    source, out = fp8(tmp_path / "mine", scale=float("nan")), tmp_path / "out"
    out.mkdir()
    work = Work(
        {"checkpoint": source}, out, 1, lambda *_: None, {}, origins={"checkpoint": {}}
    )  # fmt: skip
    with pytest.raises(CheckpointError, match=r"mine/model\.safetensors: .*not finite"):
        Cast().run(AS_IT_IS, work)
