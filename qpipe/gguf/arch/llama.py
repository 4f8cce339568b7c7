"""Llama and what is built like it: Llama 1–3, Mistral 7B, TinyLlama.

Source: llama.cpp, conversion/llama.py (LlamaModel). q and k rows are interleaved for ggml's
"norm" RoPE; transformers fills in ``head_dim``, so key_length and value_length are always written.
"""

from __future__ import annotations

from qpipe.gguf import values
from qpipe.gguf.arch.base import Architecture, Dims, Spec
from qpipe.gguf.config import Config


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    return {
        "llama.vocab_size": values.u32(dims.vocab),
        "llama.rope.dimension_count": values.u32(dims.head_dim),
    }


ARCHITECTURE = Architecture(
    name="llama",
    hf_names=("LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM"),
    scalings=("default", "linear", "yarn", "llama3"),
    head_dim_default=True,
    space_prefix=True,
    after_file_type=_after_file_type,
    model={
        "model.embed_tokens.weight": Spec(("vocab", "hidden")),
        "model.norm.weight": Spec(("hidden",)),
        "lm_head.weight": Spec(("vocab", "hidden")),
    },
    layer={
        "input_layernorm.weight": Spec(("hidden",)),
        "self_attn.q_proj.weight": Spec(("q", "hidden"), rotary="heads"),
        "self_attn.k_proj.weight": Spec(("kv", "hidden"), rotary="kv_heads"),
        "self_attn.v_proj.weight": Spec(("kv", "hidden")),
        "self_attn.o_proj.weight": Spec(("hidden", "q")),
        "self_attn.q_proj.bias": Spec(("q",), optional=True, rotary="heads"),
        "self_attn.k_proj.bias": Spec(("kv",), optional=True, rotary="kv_heads"),
        "self_attn.v_proj.bias": Spec(("kv",), optional=True),
        "self_attn.o_proj.bias": Spec(("hidden",), optional=True),
        "post_attention_layernorm.weight": Spec(("hidden",)),
        "mlp.gate_proj.weight": Spec(("ffn", "hidden")),
        "mlp.up_proj.weight": Spec(("ffn", "hidden")),
        "mlp.down_proj.weight": Spec(("hidden", "ffn")),
        "mlp.gate_proj.bias": Spec(("ffn",), optional=True),
        "mlp.up_proj.bias": Spec(("ffn",), optional=True),
        "mlp.down_proj.bias": Spec(("hidden",), optional=True),
    },
)
