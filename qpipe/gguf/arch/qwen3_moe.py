"""Qwen3-MoE: Qwen3's attention, Qwen2-MoE's experts without the shared one.

Source: llama.cpp, conversion/qwen.py (Qwen3MoeModel).
"""

from __future__ import annotations

from qpipe.gguf import values
from qpipe.gguf.arch import qwen2_moe, qwen3
from qpipe.gguf.arch.base import Architecture, Dims
from qpipe.gguf.config import Config


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    return {"qwen3moe.expert_feed_forward_length": values.u32(dims.expert_ffn)}


ARCHITECTURE = Architecture(
    name="qwen3moe",
    hf_names=("Qwen3MoeForCausalLM",),
    defaults={"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768},
    check=qwen2_moe.check,
    after_file_type=_after_file_type,
    model=qwen3.ARCHITECTURE.model,
    layer=qwen3.ATTENTION | qwen2_moe.ROUTER,
    experts=qwen2_moe.EXPERTS,
)
