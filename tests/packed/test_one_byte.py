"""The kernel for FP8 beside the table of its numbers, for every code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qpipe.packed import structure
from qpipe.packed.values import one_byte
from qpipe.packed.values.base import Strip
from qpipe.packed.values.rounding import rounded
from tests.packed.checkpoints import around, checkpoint

NAME = "model.layers.0.mlp.up_proj"


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
@pytest.mark.parametrize("wide", [96, 128, 256])
def test_every_code(dtype: str, wide: int, tmp_path: Path) -> None:
    codes = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    random = np.random.default_rng(0)
    scales = random.normal(size=(2, -(-256 // wide))).astype(np.float32)
    scales[0, 0], scales[1, 0] = 2.0**-120, 3e38  # numbers below the smallest, beyond the largest
    parts = {"weight": codes.view(bool), "weight_scale_inv": scales}
    config = {"quant_method": "fp8", "weight_block_size": [32, wide]}
    made = structure.read(checkpoint(tmp_path, around(parts), quantization_config=config))
    part = Strip(made.modules[NAME], made.tensors, config, 0, 64)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = rounded(one_byte.read(part), dtype)
    ours = one_byte.read_rounded(part, dtype)
    assert np.isnan(ours).sum() == 2 * 64
    numbers = ~np.isnan(expected)
    assert np.array_equal(np.isnan(ours), ~numbers)
    assert np.array_equal(ours.view(np.uint32)[numbers], expected.view(np.uint32)[numbers])
