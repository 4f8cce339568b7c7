"""A model published in FP8 alone, in bfloat16 again. test_resuming.py has it quantized."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qpipe.errors import CheckpointError
from qpipe.packed import dequantize
from tests.cli import qpipe
from tests.engines.running import Bench
from tests.packed import fp8

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engines")]


def test_numbers_are_transformers_own(of_fp8: Path, from_fp8: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, FineGrainedFP8Config

    settings = FineGrainedFP8Config(weight_block_size=fp8.BLOCK, dequantize=True)
    theirs = AutoModelForCausalLM.from_pretrained(
        of_fp8, quantization_config=settings, dtype=torch.bfloat16
    ).state_dict()
    ours = load_file(from_fp8 / "model.safetensors")
    assert not [name for name in ours if name.endswith("_scale_inv")]
    for name, value in ours.items():
        assert torch.equal(value, theirs[name].to(value.dtype)), name
    config = json.loads((from_fp8 / "config.json").read_text())
    assert "quantization_config" not in config
    assert config["dtype"] == "bfloat16"


def test_scales_that_do_not_fit(of_fp8: Path, tmp_path: Path) -> None:
    config = json.loads((of_fp8 / "config.json").read_text())
    for size, words in (([64, 128], r"needs \[4, 6\]"), (None, r"is \[2, 6\], for a matrix")):
        config["quantization_config"]["weight_block_size"] = size
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / "model.safetensors").hardlink_to(of_fp8 / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "out").mkdir()
        with pytest.raises(CheckpointError, match=words):
            dequantize.dequantize(folder, folder / "out")


def test_other_engines_take_it_too(of_fp8: Path, bench: Bench) -> None:
    answer = qpipe("plan", "local", f"model.source={of_fp8}", "quantize=rtn", cwd=bench.folder)
    assert answer.code == 0, answer.stdout + answer.stderr
