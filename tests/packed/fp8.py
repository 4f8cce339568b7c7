"""A checkpoint in block-scaled FP8, as DeepSeek and Qwen publish theirs, made of a plain one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

BLOCK = (128, 128)


def make(source: Path, out: Path) -> Path:
    """Scales are so that each block's largest number becomes 448, E4M3's largest."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, out)
    tensors = {}
    for name, value in load_file(source / "model.safetensors").items():
        if not name.endswith("proj.weight"):
            tensors[name] = value
            continue
        rows, columns = value.shape
        high, wide = -(-rows // BLOCK[0]), -(-columns // BLOCK[1])
        padded = torch.zeros(high * BLOCK[0], wide * BLOCK[1])
        padded[:rows, :columns] = value.float()
        blocks = padded.reshape(high, BLOCK[0], wide, BLOCK[1])
        scales = blocks.abs().amax(dim=(1, 3)) / 448
        packed = (blocks / scales[:, None, :, None]).reshape(padded.shape)[:rows, :columns]
        tensors[name] = packed.to(torch.float8_e4m3fn).contiguous()
        tensors[f"{name}_scale_inv"] = scales
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((out / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "fp8",
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "weight_block_size": list(BLOCK),
    }
    (out / "config.json").write_text(json.dumps(config))
    return out
