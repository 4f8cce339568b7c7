"""`python -m tests.hf.awq_in_float32 FOLDER`: a tiny AWQ checkpoint beside what its numbers stand
for, as a line of JSON.

GPTQModel patches transformers, so this has a process of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from qpipe.hf.load import load
from tests.hf.test_hf_quantized import TOKENS, Tensors, packed, write

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True}


def awq(matrix: Any) -> tuple[Tensors, Any]:
    """AutoAWQ's GEMM in groups of 32, packed by gptqmodel's own function."""
    from gptqmodel.quantization.awq.utils.packing_utils import pack_awq

    groups = matrix.T.reshape(-1, 32, matrix.shape[0])
    scale = (groups.abs().amax(1) / 7.5).to(torch.float16)
    spread = scale.float().repeat_interleave(32, dim=0)
    codes = (matrix.T / spread + 8).round().clamp(0, 15)
    zeros = torch.full(scale.shape, 8, dtype=torch.int32)
    words, packed_zeros = pack_awq(codes.to(torch.int32), zeros, 4)
    parts = {"qweight": words, "qzeros": packed_zeros, "scales": scale}
    return parts, ((codes - 8) * spread).T


def logits(model: Any) -> Any:
    with torch.inference_mode():
        return model(input_ids=torch.tensor(TOKENS)).logits.float()


def main(folder: Path) -> None:
    stored, meant = packed(awq)
    made = write(folder / "packed", stored, quantization_config=AWQ)
    exact = logits(load(write(folder / "plain", meant, dtype="float32")).model)
    loaded = load(made)
    off_by = float((logits(loaded.model) - exact).abs().max())
    print(json.dumps({"arithmetic": loaded.arithmetic, "off_by": off_by}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
