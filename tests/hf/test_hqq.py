"""A checkpoint that hqq itself wrote, where hqq is installed (0.2.8 was tried; no extra brings it).

transformers 5.17 knows no place for its weights, and would compute with random ones; those that
optimum-quanto 0.2.7 writes likewise.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qpipe.errors import CheckpointError
from qpipe.hf.load import load

MODEL = Path(__file__).parents[2] / "qpipe" / "data" / "tinystories-d256"


@pytest.mark.filterwarnings("default")
def test_weights_that_transformers_does_not_find_are_not_made_up(tmp_path: Path) -> None:
    hqq: Any = pytest.importorskip("hqq.core.quantize")
    import torch
    from safetensors.torch import load_file, save_file

    settings = hqq.BaseQuantizeConfig(nbits=4, group_size=64, axis=1)
    stored: dict[str, torch.Tensor] = {}
    for name, weight in load_file(MODEL / "model.safetensors").items():
        if not name.endswith("proj.weight"):
            stored[name] = weight
            continue
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        linear.weight.data = weight.float()
        packed = hqq.HQQLinear(linear, settings, compute_dtype=torch.float32, device="cpu")
        packed.encoded_state_dict = True
        for part, value in packed.state_dict().items():
            tensor = value if isinstance(value, torch.Tensor) else torch.tensor(value)
            stored[name.removesuffix("weight") + part] = tensor.contiguous()
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((MODEL / "config.json").read_text())
    weights = {"nbits": 4, "group_size": 64, "axis": 1, "channel_wise": True, "optimize": True}
    weights |= {"round_zero": False, "view_as_float": False}
    config["quantization_config"] = {
        "quant_method": "hqq",
        "quant_config": {"weight_quant_params": weights, "offload_meta": False},
        "skip_modules": ["lm_head"],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model"):
        shutil.copy(MODEL / name, tmp_path)
    with pytest.raises(
        CheckpointError,
        match=r"is quantized \(hqq\), which transformers 5\.\S+ makes and does not read",
    ):
        load(tmp_path)
