"""Qwen3: Qwen2 with norms on q and k in place of biases, and a head size of its own.

Source: llama.cpp, conversion/qwen.py (Qwen3Model); transformers' Qwen3Config for the default.
"""

from __future__ import annotations

from qpipe.gguf import windows
from qpipe.gguf.arch import qwen2
from qpipe.gguf.arch.base import BASE, Architecture, Spec
from qpipe.gguf.config_fields import Constant, Only, Whole

# transformers 5.17.0 then puts one on o_proj as well, for which llama.cpp 0.6.0-dev has no place
# here.
NO_BIAS = Only(False, why="llama.cpp loads no bias of o_proj here")

ATTENTION = {
    "input_layernorm.weight": Spec(("hidden",)),
    "self_attn.q_proj.weight": Spec(("q", "hidden")),
    "self_attn.k_proj.weight": Spec(("kv", "hidden")),
    "self_attn.v_proj.weight": Spec(("kv", "hidden")),
    "self_attn.o_proj.weight": Spec(("hidden", "q")),
    "self_attn.q_norm.weight": Spec(("head_dim",)),
    "self_attn.k_norm.weight": Spec(("head_dim",)),
    "post_attention_layernorm.weight": Spec(("hidden",)),
}

ARCHITECTURE = Architecture(
    name="qwen3",
    hf_names=("Qwen3ForCausalLM",),
    fields={
        **BASE,
        **qwen2.WINDOW,
        "model_type": Constant("qwen3"),
        "num_key_value_heads": Whole(32, null=True),
        "head_dim": Whole(128),
        "attention_bias": NO_BIAS,
    },
    check=windows.where_used(qwen2.upper_layers),
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
