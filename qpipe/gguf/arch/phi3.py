"""Phi-3 and Phi-4: Llama with q, k and v, and gate and up, each in one matrix.

Source: llama.cpp, conversion/phi.py (Phi3MiniModel); transformers' Phi3Config for the defaults.
ggml splits the merged matrices itself. The longrope scaling of the 128k models is refused, and
llama.cpp computes no window (src/models/phi3.cpp).
"""

from __future__ import annotations

from collections.abc import Iterator

from qpipe.gguf import rope, values, windows
from qpipe.gguf.arch.base import BASE, Architecture, Spec, plain_heads
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import Constant, Positive, Whole
from qpipe.gguf.scalings import Scalings


def _check(config: Config) -> Iterator[str]:
    plain_heads(config)
    yield from windows.everywhere(config)


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
        "phi3.rope.dimension_count": values.u32(dims.head_dim),
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
        "original_max_position_embeddings": Whole(4096),
        "rms_norm_eps": Positive(1e-5),
    },
    rope=Scalings(kinds=("default",), elsewhere=("longrope",)),
    check=_check,
    sizes=_sizes,
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
