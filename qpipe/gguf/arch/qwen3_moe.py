"""Qwen3-MoE: Qwen3's attention, Qwen2-MoE's experts without the shared one.

Source: llama.cpp, conversion/qwen.py (Qwen3MoeModel).
"""

from __future__ import annotations

from qpipe.gguf import values, windows
from qpipe.gguf.arch import qwen2, qwen2_moe, qwen3
from qpipe.gguf.arch.base import BASE, MAX_EXPERTS, Architecture
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import Constant, Only, Whole


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    return {"qwen3moe.expert_feed_forward_length": values.u32(dims.expert_ffn)}


ARCHITECTURE = Architecture(
    name="qwen3moe",
    hf_names=("Qwen3MoeForCausalLM",),
    fields={
        **BASE,
        **qwen2.WINDOW,
        **qwen2_moe.EVERY_LAYER,
        "model_type": Constant("qwen3_moe"),
        "num_key_value_heads": Whole(4),
        "attention_bias": qwen3.NO_BIAS,
        "num_experts": Whole(128, most=MAX_EXPERTS),
        "num_local_experts": Whole(null=True, most=MAX_EXPERTS),
        "num_experts_per_tok": Whole(8),
        "moe_intermediate_size": Whole(768),
        "norm_topk_prob": Only(
            True,
            why="llama.cpp normalizes the experts' weights whatever a file says",
            default=False,
        ),
    },
    check=windows.where_used(lambda config, layer: True),
    expert_counts=("num_local_experts", "num_experts"),
    after_file_type=_after_file_type,
    model=qwen3.ARCHITECTURE.model,
    layer=qwen3.ATTENTION | qwen2_moe.ROUTER,
    experts=qwen2_moe.EXPERTS,
)
