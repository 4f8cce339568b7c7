"""Qwen3: Qwen2 with norms on q and k in place of biases, and a head size of its own.

Source: llama.cpp, conversion/qwen.py (Qwen3Model); transformers' Qwen3Config for the default.
"""

from __future__ import annotations

from qpipe.gguf.arch.base import Architecture, Spec

ATTENTION = {
    "input_layernorm.weight": Spec(("hidden",)),
    "self_attn.q_proj.weight": Spec(("q", "hidden")),
    "self_attn.k_proj.weight": Spec(("kv", "hidden")),
    "self_attn.v_proj.weight": Spec(("kv", "hidden")),
    "self_attn.o_proj.weight": Spec(("hidden", "q")),
    "self_attn.q_proj.bias": Spec(("q",), optional=True),
    "self_attn.k_proj.bias": Spec(("kv",), optional=True),
    "self_attn.v_proj.bias": Spec(("kv",), optional=True),
    "self_attn.o_proj.bias": Spec(("hidden",), optional=True),
    "self_attn.q_norm.weight": Spec(("head_dim",)),
    "self_attn.k_norm.weight": Spec(("head_dim",)),
    "post_attention_layernorm.weight": Spec(("hidden",)),
}

ARCHITECTURE = Architecture(
    name="qwen3",
    hf_names=("Qwen3ForCausalLM",),
    defaults={"head_dim": 128},
    model={
        "model.embed_tokens.weight": Spec(("vocab", "hidden")),
        "model.norm.weight": Spec(("hidden",)),
        "lm_head.weight": Spec(("vocab", "hidden")),
    },
    layer=ATTENTION
    | {
        "mlp.gate_proj.weight": Spec(("ffn", "hidden")),
        "mlp.up_proj.weight": Spec(("ffn", "hidden")),
        "mlp.down_proj.weight": Spec(("hidden", "ffn")),
    },
)
