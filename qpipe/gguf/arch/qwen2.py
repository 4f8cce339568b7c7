"""Qwen2 and Qwen2.5: Llama's layers with q, k and v biases, rows left in place (NeoX RoPE).

Source: llama.cpp, conversion/qwen.py (Qwen2Model).
"""

from __future__ import annotations

from qpipe.gguf.arch.base import Architecture, Spec

ARCHITECTURE = Architecture(
    name="qwen2",
    hf_names=("Qwen2ForCausalLM",),
    model={
        "model.embed_tokens.weight": Spec(("vocab", "hidden")),
        "model.norm.weight": Spec(("hidden",)),
        "lm_head.weight": Spec(("vocab", "hidden")),
    },
    layer={
        "input_layernorm.weight": Spec(("hidden",)),
        "self_attn.q_proj.weight": Spec(("q", "hidden")),
        "self_attn.k_proj.weight": Spec(("kv", "hidden")),
        "self_attn.v_proj.weight": Spec(("kv", "hidden")),
        "self_attn.o_proj.weight": Spec(("hidden", "q")),
        "self_attn.q_proj.bias": Spec(("q",)),
        "self_attn.k_proj.bias": Spec(("kv",)),
        "self_attn.v_proj.bias": Spec(("kv",)),
        "post_attention_layernorm.weight": Spec(("hidden",)),
        "mlp.gate_proj.weight": Spec(("ffn", "hidden")),
        "mlp.up_proj.weight": Spec(("ffn", "hidden")),
        "mlp.down_proj.weight": Spec(("hidden", "ffn")),
    },
)
