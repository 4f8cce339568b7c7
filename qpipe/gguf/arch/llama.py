"""Llama and what is built like it: Llama 1–3, TinyLlama.

Source: llama.cpp, conversion/llama.py (LlamaModel). q and k rows are interleaved for ggml's
"norm" RoPE; transformers fills in ``head_dim``, so key_length and value_length are always written.
"""

from __future__ import annotations

from qpipe.gguf import values, windows
from qpipe.gguf.arch import views
from qpipe.gguf.arch.base import BASE, Architecture, Spec
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import Constant, Flag
from qpipe.gguf.scalings import Scalings


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    return {
        "llama.vocab_size": values.u32(dims.vocab),
        "llama.rope.dimension_count": values.u32(dims.head_dim),
    }


ATTENTION = {
    "input_layernorm.weight": Spec(("hidden",)),
    "self_attn.q_proj.weight": Spec(("q", "hidden"), view=views.rotary("heads")),
    "self_attn.k_proj.weight": Spec(("kv", "hidden"), view=views.rotary("kv_heads")),
    "self_attn.v_proj.weight": Spec(("kv", "hidden")),
    "self_attn.o_proj.weight": Spec(("hidden", "q")),
    "post_attention_layernorm.weight": Spec(("hidden",)),
}
FEED_FORWARD = {
    "mlp.gate_proj.weight": Spec(("ffn", "hidden")),
    "mlp.up_proj.weight": Spec(("ffn", "hidden")),
    "mlp.down_proj.weight": Spec(("hidden", "ffn")),
}

ARCHITECTURE = Architecture(
    name="llama",
    hf_names=("LlamaForCausalLM", "LLaMAForCausalLM"),
    fields={
        **BASE,
        "model_type": Constant("llama"),
        "attention_bias": Flag(False),
        "mlp_bias": Flag(False),
    },
    rope=Scalings(kinds=("default", "linear", "dynamic", "yarn", "llama3")),
    check=windows.everywhere,
    head_dim_default=True,
    space_prefix="first",
    after_file_type=_after_file_type,
    model={
        "model.embed_tokens.weight": Spec(("vocab", "hidden")),
        "model.norm.weight": Spec(("hidden",)),
        "lm_head.weight": Spec(("vocab", "hidden")),
    },
    layer={
        **ATTENTION,
        "self_attn.q_proj.bias": Spec(("q",), view=views.rotary("heads"), when="attention_bias"),
        "self_attn.k_proj.bias": Spec(
            ("kv",), view=views.rotary("kv_heads"), when="attention_bias"
        ),
        "self_attn.v_proj.bias": Spec(("kv",), when="attention_bias"),
        "self_attn.o_proj.bias": Spec(("hidden",), when="attention_bias"),
        **FEED_FORWARD,
        "mlp.gate_proj.bias": Spec(("ffn",), when="mlp_bias"),
        "mlp.up_proj.bias": Spec(("ffn",), when="mlp_bias"),
        "mlp.down_proj.bias": Spec(("hidden",), when="mlp_bias"),
    },
)
