"""Phi-3 and Phi-4: Llama with q, k and v, and gate and up, each in one matrix.

Source: llama.cpp, conversion/phi.py (Phi3MiniModel); transformers' Phi3Config for the defaults.
ggml splits the merged matrices itself, and computes no window (src/models/phi3.cpp). The factors of
longrope, of the models for 128k tokens, are two vectors: llama.cpp takes the long ones where its
context is longer than the original one, transformers where the text is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from qpipe.gguf import rope, values, windows
from qpipe.gguf.arch.base import BASE, Architecture, Spec, Vector, plain_heads
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import Constant, Positive, Whole
from qpipe.gguf.scalings import Scalings

_ORIGINAL = "original_max_position_embeddings"


def _rotated(config: Config) -> int:
    """The columns of a head that RoPE turns (conversion/phi.py rounds so)."""
    hidden, heads = (config.integer(n) for n in ("hidden_size", "num_attention_heads"))
    factor = config.section("rope_parameters").positive("partial_rotary_factor")
    return int(factor * hidden) // heads


def _check(config: Config) -> Iterator[str]:
    plain_heads(config)
    yield from windows.everywhere(config)
    rope = config.section("rope_parameters")
    if rope.fields["rope_type"] != "longrope":
        return
    if not config.has(_ORIGINAL):
        raise config.bad(_ORIGINAL, "the length of the context before it was scaled")
    for name in ("short_factor", "long_factor"):
        factors: Any = rope.fields.get(name)
        numbers = isinstance(factors, list) and all(type(n) in (int, float) for n in factors)
        if not numbers or len(factors) != _rotated(config) // 2:
            raise rope.bad(name, f"{_rotated(config) // 2} numbers")
    yield (
        f"{config.path.name}: llama.cpp takes the long factors of RoPE for every text if its "
        f"context is longer than {config.integer(_ORIGINAL)} tokens, transformers for longer texts"
    )


def _factors(config: Config, dims: Dims) -> Mapping[str, Vector]:
    rope = config.section("rope_parameters")
    if rope.fields["rope_type"] != "longrope":
        return {}
    return {
        f"rope_factors_{kind}.weight": np.array(rope.fields[f"{kind}_factor"], np.float32)
        for kind in ("long", "short")
    }


def _first(config: Config, dims: Dims) -> values.Metadata:
    """The factor of attention, which the converter writes in front of all else."""
    if config.section("rope_parameters").fields["rope_type"] != "longrope":
        return {}
    original = config.integer(_ORIGINAL)
    scale = config.integer("max_position_embeddings") / original
    factor = math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
    return {"phi3.rope.scaling.attn_factor": values.f32(factor)}


def _sizes(config: Config, dims: Dims) -> values.Metadata:
    original = config.integer("original_max_position_embeddings")
    return {
        "phi3.context_length": values.u32(config.integer("max_position_embeddings")),
        "phi3.rope.scaling.original_context_length": values.u32(original),
        "phi3.embedding_length": values.u32(dims.hidden),
        "phi3.feed_forward_length": values.u32(dims.ffn),
        "phi3.block_count": values.u32(dims.layers),
        "phi3.attention.head_count": values.u32(dims.heads),
        "phi3.attention.head_count_kv": values.u32(dims.kv_heads),
        "phi3.attention.layer_norm_rms_epsilon": values.f32(config.positive("rms_norm_eps")),
        "phi3.rope.dimension_count": values.u32(_rotated(config)),
        "phi3.rope.freq_base": values.f32(rope.theta(config)),
    }


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    """0 says that there is no window, which tells Phi-4 from Phi-3."""
    window = config.integer("sliding_window") if config.has("sliding_window") else 0
    return {"phi3.attention.sliding_window": values.u32(window)}


ARCHITECTURE = Architecture(
    name="phi3",
    hf_names=("Phi3ForCausalLM",),
    fields={
        **BASE,
        "model_type": Constant("phi3"),
        "max_position_embeddings": Whole(4096),
        _ORIGINAL: Whole(4096),
        "rms_norm_eps": Positive(1e-5),
    },
    rope=Scalings(kinds=("default", "longrope"), partial=1.0),
    check=_check,
    before_all=_first,
    sizes=_sizes,
    tensors=_factors,
    after_file_type=_after_file_type,
    added_tokens=True,
    model={
        "model.embed_tokens.weight": Spec(("vocab", "hidden")),
        "model.norm.weight": Spec(("hidden",)),
        "lm_head.weight": Spec(("vocab", "hidden")),
    },
    layer={
        "input_layernorm.weight": Spec(("hidden",)),
        "self_attn.qkv_proj.weight": Spec(("qkv", "hidden")),
        "self_attn.o_proj.weight": Spec(("hidden", "q")),
        "post_attention_layernorm.weight": Spec(("hidden",)),
        "mlp.gate_up_proj.weight": Spec(("ffn2", "hidden")),
        "mlp.down_proj.weight": Spec(("hidden", "ffn")),
    },
)
