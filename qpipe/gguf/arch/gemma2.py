"""Gemma 2: four norms a layer, whose weights count from 1; soft-capped logits; tied embeddings.

Source: llama.cpp, conversion/gemma.py (Gemma2Model); transformers' Gemma2Config for the defaults.
"""

from __future__ import annotations

from qpipe.gguf import values
from qpipe.gguf.arch.base import Architecture, Dims, Spec
from qpipe.gguf.config import Config

NORM = Spec(("hidden",), shift=1.0)

MODEL = {
    "model.embed_tokens.weight": Spec(("vocab", "hidden")),
    "model.norm.weight": NORM,
    "lm_head.weight": Spec(("vocab", "hidden"), optional=True),
}
LAYER = {
    "input_layernorm.weight": NORM,
    "self_attn.q_proj.weight": Spec(("q", "hidden")),
    "self_attn.k_proj.weight": Spec(("kv", "hidden")),
    "self_attn.v_proj.weight": Spec(("kv", "hidden")),
    "self_attn.o_proj.weight": Spec(("hidden", "q")),
    "post_attention_layernorm.weight": NORM,
    "pre_feedforward_layernorm.weight": NORM,
    "post_feedforward_layernorm.weight": NORM,
    "mlp.gate_proj.weight": Spec(("ffn", "hidden")),
    "mlp.up_proj.weight": Spec(("ffn", "hidden")),
    "mlp.down_proj.weight": Spec(("hidden", "ffn")),
}


def _sizes(config: Config, dims: Dims) -> values.Metadata:
    return {
        "gemma2.context_length": values.u32(config.integer("max_position_embeddings")),
        "gemma2.embedding_length": values.u32(dims.hidden),
        "gemma2.block_count": values.u32(dims.layers),
        "gemma2.feed_forward_length": values.u32(dims.ffn),
        "gemma2.attention.head_count": values.u32(dims.heads),
        "gemma2.attention.head_count_kv": values.u32(dims.kv_heads),
        "gemma2.attention.layer_norm_rms_epsilon": values.f32(config.number("rms_norm_eps")),
        "gemma2.attention.key_length": values.u32(dims.head_dim),
        "gemma2.attention.value_length": values.u32(dims.head_dim),
    }


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    return {
        "gemma2.attn_logit_softcapping": values.f32(config.number("attn_logit_softcapping")),
        "gemma2.final_logit_softcapping": values.f32(config.number("final_logit_softcapping")),
        "gemma2.attention.sliding_window": values.u32(config.integer("sliding_window")),
    }


def no_space_prefix(config: Config, dims: Dims) -> values.Metadata:
    """Gemma's text has no space put in front."""
    return {"tokenizer.ggml.add_space_prefix": values.boolean(False)}


ARCHITECTURE = Architecture(
    name="gemma2",
    hf_names=("Gemma2ForCausalLM",),
    defaults={
        "head_dim": 256,
        "num_key_value_heads": 4,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    scalings=("default",),
    skipped=("lm_head.weight",),
    sizes=_sizes,
    after_file_type=_after_file_type,
    after_vocabulary=no_space_prefix,
    model=MODEL,
    layer=LAYER,
)
