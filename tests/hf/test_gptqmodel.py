"""GPTQ and AWQ checkpoints that transformers misreads go through GPTQModel, and lose nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpipe.hf import gptqmodel
from qpipe.hf.quantized import QuantizationSettings, read_settings

LAYER = "model.layers.0"
PACKED = f"{LAYER}.self_attn.q_proj.qweight"


def folder(path: Path, *names: str, **config: Any) -> tuple[Path, QuantizationSettings]:
    from safetensors.numpy import save_file

    save_file({name: np.zeros((16, 64), np.int32) for name in names}, path / "model.safetensors")
    fields = {"quant_method": "gptq", "bits": 4, "group_size": 64, **config}
    (path / "config.json").write_text(json.dumps({"quantization_config": fields}))
    said = read_settings(path, {"quantization_config": fields})
    assert said is not None
    return path, said


@pytest.mark.parametrize(
    ("names", "config", "wanted"),
    [
        ((PACKED, "lm_head.weight"), {}, False),
        ((PACKED,), {"dynamic": {"-:k_proj": {}}}, True),
        ((PACKED,), {"lm_head": True}, True),
        ((PACKED,), {"checkpoint_format": "gptq_v2"}, False),
        ((PACKED,), {"checkpoint_format": "gptq_p"}, True),
        ((PACKED,), {"format": "gptq_p"}, True),
        ((f"{LAYER}.mlp.experts.3.up_proj.qweight",), {}, True),
        ((f"{LAYER}.mlp.experts.3.up_proj.qweight",), {"quant_method": "awq"}, True),
        ((PACKED, f"{LAYER}.linear_attn.in_proj_a.weight"), {}, True),
        ((PACKED, f"{LAYER}.self_attn.k_proj.weight"), {"quant_method": "awq"}, False),
        (
            (PACKED, f"{LAYER}.self_attn.k_proj.weight"),
            {"modules_in_block_to_quantize": [["self_attn.q_proj"]]},
            False,
        ),
        ((f"{LAYER}.mlp.experts.3.up_proj.weight",), {"quant_method": "torchao"}, False),
    ],
)
def test_who_reads_it(
    tmp_path: Path, names: tuple[str, ...], config: dict[str, Any], wanted: bool
) -> None:
    assert gptqmodel.needs_gptqmodel(*folder(tmp_path, *names, **config)) == wanted


def test_scales_are_as_they_are_stored(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    scales = torch.tensor([[0.1, 1 / 3, 5.1e-4]], dtype=torch.float16)
    save_file({"q_proj.scales": scales}, tmp_path / "model.safetensors")
    module = torch.nn.Module()
    module.register_buffer("scales", scales.to(torch.bfloat16).float())
    model = torch.nn.ModuleDict({"q_proj": module})
    assert not torch.equal(model.state_dict()["q_proj.scales"], scales.float())
    gptqmodel._as_stored(tmp_path, model)
    assert torch.equal(model.state_dict()["q_proj.scales"], scales.float())


def test_what_is_not_there_is_not_made_up(tmp_path: Path) -> None:
    import torch

    from qpipe.errors import CheckpointError

    made, _ = folder(tmp_path, PACKED)
    module = torch.nn.Module()
    model = torch.nn.ModuleDict({"k_proj": module})
    for part in ("qweight", "scales", "qzeros"):
        module.register_buffer(part, torch.zeros(16, 64, dtype=torch.int32))
        with pytest.raises(CheckpointError, match=rf"lacks 1 parts .* k_proj\.{part}"):
            gptqmodel._refuse_gaps(made, model)
        delattr(module, part)
    module.register_buffer("g_idx", torch.zeros(16, dtype=torch.int32))
    gptqmodel._refuse_gaps(made, model)
    ordered, _ = folder(tmp_path, PACKED, desc_act=True)
    with pytest.raises(CheckpointError, match=r"lacks 1 parts .* k_proj\.g_idx"):
        gptqmodel._refuse_gaps(ordered, model)
