"""Qwen3.5 and Qwen3.6 with experts: one shared, the others of a layer in one tensor each.

Source: llama.cpp, conversion/qwen.py (Qwen3_5MoeTextModel); transformers' Qwen3_5MoeTextConfig for
the defaults.
"""

from __future__ import annotations

from dataclasses import replace

from qpipe.gguf.arch import multimodal, qwen2_moe, qwen3_5, qwen3_next
from qpipe.gguf.arch.base import BASE
from qpipe.gguf.config_fields import Constant, Whole

ARCHITECTURE = replace(
    qwen3_5.ARCHITECTURE,
    name="qwen35moe",
    hf_names=("Qwen3_5MoeForCausalLM", "Qwen3_5MoeForConditionalGeneration"),
    fields={
        **BASE,
        **multimodal.FIELDS,
        **qwen3_next.LINEAR_FIELDS,
        **qwen3_next.EXPERT_FIELDS,
        "model_type": Constant("qwen3_5_moe_text"),
        "num_key_value_heads": Whole(2),
    },
    expert_counts=("num_local_experts", "num_experts"),
    after_file_type=qwen3_5.after_file_type("qwen35moe"),
    layer=qwen3_next.ATTENTION
    | qwen3_5.LINEAR
    | qwen3_next.FURTHER_TOKENS
    | qwen2_moe.ROUTER
    | qwen2_moe.SHARED,
    experts=qwen2_moe.EXPERTS,
    layouts=(qwen3_next.EXPERTS_IN_ONE,),
)
