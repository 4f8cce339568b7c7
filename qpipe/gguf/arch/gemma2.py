"""Gemma 2: four norms a layer, whose weights count from 1; soft-capped logits; tied embeddings.

Source: llama.cpp, conversion/gemma.py (Gemma2Model); transformers' Gemma2Config for the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpipe.gguf import scalings, values, windows
from qpipe.gguf.arch import views
from qpipe.gguf.arch.base import BASE, Architecture, Spec
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS, Constant, Field, Fields, Only, Positive, Whole
from qpipe.gguf.scalings import Scalings

NORM = Spec(("hidden",), compute=views.plus_one)

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


# What both Gemmas have in place of others' fields.
GEMMA: Fields = {
    **BASE,
    "num_key_value_heads": Whole(4),
    "head_dim": Whole(256),
    "hidden_act": Field(),
    "hidden_activation": Only(
        *("gelu_pytorch_tanh", "gelu_new", "gelu_fast"),
        why="llama.cpp computes GELU by its tanh form whatever a file says",
    ),
    "query_pre_attn_scalar": Whole(256),
    "sliding_window": Whole(4096),
    "sliding_window_size": Field(),
    "attention_bias": Only(False, why="llama.cpp loads no bias of o_proj here"),
    "use_bidirectional_attention": Only(None, False, why="llama.cpp computes causal attention"),
}


def check_scale(config: Config, *, by_width: int) -> None:
    """Refuse a ``query_pre_attn_scalar`` that llama.cpp does not take by itself: the head size,
    but hidden_size / num_attention_heads of models of ``by_width`` layers, its 27B."""
    scalar = config.integer("head_dim")
    if config.integer("num_hidden_layers") == by_width:
        scalar = config.integer("hidden_size") // config.integer("num_attention_heads")
    if config.integer("query_pre_attn_scalar") != scalar:
        why = f"llama.cpp computes by {scalar} whatever a file says{OTHER_METHODS}"
        raise config.unfit("query_pre_attn_scalar", why)


def _check(config: Config) -> Iterator[str]:
    check_scale(config, by_width=46)
    if windows.layers(config) not in (None, windows.alternating(config, 2)):
        why = f"llama.cpp gives every other layer a window{OTHER_METHODS}"
        raise config.unfit("layer_types", why)
    scalings.check_theta(config, 10000.0)
    yield from ()


def _sizes(config: Config, dims: Dims) -> values.Metadata:
    return {
        "gemma2.context_length": values.u32(config.integer("max_position_embeddings")),
        "gemma2.embedding_length": values.u32(dims.hidden),
        "gemma2.block_count": values.u32(dims.layers),
        "gemma2.feed_forward_length": values.u32(dims.ffn),
        "gemma2.attention.head_count": values.u32(dims.heads),
        "gemma2.attention.head_count_kv": values.u32(dims.kv_heads),
        "gemma2.attention.layer_norm_rms_epsilon": values.f32(config.positive("rms_norm_eps")),
        "gemma2.attention.key_length": values.u32(dims.head_dim),
        "gemma2.attention.value_length": values.u32(dims.head_dim),
    }


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    return {
        "gemma2.attn_logit_softcapping": values.f32(config.positive("attn_logit_softcapping")),
        "gemma2.final_logit_softcapping": values.f32(config.positive("final_logit_softcapping")),
        "gemma2.attention.sliding_window": values.u32(config.integer("sliding_window")),
    }


def no_space_prefix(config: Config, dims: Dims) -> values.Metadata:
    """Gemma's text has no space put in front."""
    return {"tokenizer.ggml.add_space_prefix": values.boolean(False)}


ARCHITECTURE = Architecture(
    name="gemma2",
    hf_names=("Gemma2ForCausalLM",),
    fields={
        **GEMMA,
        "model_type": Constant("gemma2"),
        "max_position_embeddings": Whole(8192),
        "tie_word_embeddings": Only(True, why="llama.cpp takes the embeddings for the head"),
        "attn_logit_softcapping": Positive(50.0),
        "final_logit_softcapping": Positive(30.0),
    },
    rope=Scalings(kinds=("default", "dynamic")),
    check=_check,
    skipped=("lm_head.weight",),
    sizes=_sizes,
    after_file_type=_after_file_type,
    after_vocabulary=no_space_prefix,
    model=MODEL,
    layer=LAYER,
)
