"""Quantized checkpoints that llama.cpp's converter cannot read are refused from their headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qpipe import errors
from qpipe.gguf import pydist
from qpipe.gguf.dequantizing import obstacle
from qpipe.hf.quantized import QuantizationSettings, read_settings
from tests.gguf import samples


def compressed(form: str, **weights: Any) -> dict[str, Any]:
    groups = {"group_0": {"weights": weights}}
    return {"quant_method": "compressed-tensors", "format": form, "config_groups": groups}


@pytest.mark.parametrize(
    ("fields", "tensor", "reason"),
    [
        ({"quant_method": "awq", "bits": 4}, "q.qweight", "it reads bitnet, fp8, gptq, "),
        ({"quant_method": "gptq", "bits": 3}, "q.qweight", "GPTQ of 2, 4 and 8 bits"),
        ({"quant_method": "gptq", "bits": 4}, "q.qweight", None),
        ({"quant_method": "fp8"}, "q.weight_scale", "weight_scale_inv, as of blocks"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "q.weight_scale_inv", None),
        (compressed("mxfp4-pack-quantized", strategy="group", num_bits=4), "q.weight_packed",
         "does not read the format 'mxfp4-pack-quantized'"),
        (compressed("nvfp4-pack-quantized", strategy="tensor_group"), "q.weight_packed", None),
        (compressed("float-quantized", strategy="tensor", num_bits=8), "q.weight_scale",
         "float-quantized with a scale a channel or block, not a tensor"),
        (compressed("int-quantized", strategy="channel", num_bits=8), "q.weight_scale", None),
        (compressed("pack-quantized", strategy="channel", num_bits=4), "q.weight_packed",
         "pack-quantized with a scale a group, not a channel"),
        (compressed("pack-quantized", strategy="group", num_bits=3), "q.weight_packed",
         "pack-quantized of 2, 4 and 8 bits"),
        (compressed("pack-quantized", strategy="group", num_bits=4), "q.weight_g_idx",
         "columns in another order"),
        (compressed("pack-quantized", strategy="group", num_bits=4), "q.weight_packed", None),
    ],
)  # fmt: skip
def test_what_the_converter_reads(
    fields: dict[str, Any], tensor: str, reason: str | None, tmp_path: Path
) -> None:
    said = read_settings(tmp_path, {"quantization_config": fields})
    assert said is not None
    found = obstacle(said, ["embed.weight", tensor])
    assert (found is None) == (reason is None)
    assert reason is None or reason in str(found)


def test_settings_in_a_file_that_it_does_not_look_for() -> None:
    said = QuantizationSettings(Path("m/quant_config.json"), "", "awq", {"bits": 4})
    assert "not in quant_config.json" in str(obstacle(said, []))


def test_the_refusal_names_the_ways_out(tmp_path: Path) -> None:
    folder = samples.copy_model("stories-tok105", tmp_path / "m")
    samples.edit_config(folder, quantization_config={"quant_method": "awq", "bits": 4})
    message = r"\(awq, 4 bits\).*quantize=none.*converter \(llama-.*cannot read it, for it reads b"
    with pytest.raises(errors.CheckpointError, match=message):
        pydist.require_readable(folder)
