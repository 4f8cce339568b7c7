"""LFM2 and LFM2.5: layers of short convolutions, some of attention among them.

Source: llama.cpp, conversion/lfm2.py (LFM2Model), src/models/lfm2.cpp; transformers' Lfm2Config for
the defaults. A layer without key and value heads is one of convolution in GGUF.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from qpipe.gguf import values, windows
from qpipe.gguf.arch.base import BASE, Architecture, Part, Spec, plain_heads
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import Constant, Field, Fields, Flag, Only, Positive, Whole
from qpipe.gguf.scalings import Scalings

CONV = "conv"


def kinds(config: Config) -> list[str]:
    """The kind of each layer; `CheckpointError` for what is neither attention nor convolution."""
    count, given = config.integer("num_hidden_layers"), config.fields.get("layer_types")
    if given is None:
        attends = config.fields.get("full_attn_idxs")
        attends = range(count) if attends is None else attends
        return [windows.FULL if i in attends else CONV for i in range(count)]
    if not isinstance(given, list) or len(given) != count or set(given) - {windows.FULL, CONV}:
        raise config.bad("layer_types", f"{windows.FULL} or {CONV} for each layer")
    return [str(kind) for kind in given]


def attends(config: Config, layer: int) -> bool:
    """True for a layer of attention."""
    return kinds(config)[layer] == windows.FULL


def convolves(config: Config, layer: int) -> bool:
    """True for a layer of convolution."""
    return not attends(config, layer)


def kv_heads(config: Config, dims: Dims) -> Sequence[int]:
    """None in layers of convolution."""
    return [dims.kv_heads if kind == windows.FULL else 0 for kind in kinds(config)]


def check(config: Config) -> Iterator[str]:
    """Refuse heads of a size of their own, and layers of one kind alone."""
    plain_heads(config)
    if CONV not in kinds(config) or windows.FULL not in kinds(config):
        raise config.unfit("layer_types", "llama.cpp runs models with layers of both kinds alone")
    yield from ()


def own_sizes(config: Config) -> Mapping[str, int]:
    """The sizes of convolution."""
    return {"kernel": config.integer("conv_L_cache"), "hidden3": 3 * config.integer("hidden_size")}


def _width(config: Config) -> int:
    """The width of the feed-forward network (transformers, Lfm2MLP)."""
    width = config.integer("block_ff_dim", config.integer("intermediate_size"))
    if not config.flag("block_auto_adjust_ff_dim"):
        return width
    width, multiple = int(2 * width / 3), config.integer("block_multiple_of")
    if config.has("block_ffn_dim_multiplier"):
        width = int(config.positive("block_ffn_dim_multiplier") * width)
    return multiple * -(-width // multiple)


def _own_sizes(config: Config) -> Mapping[str, int]:
    return {**own_sizes(config), "width": _width(config)}


def _sizes_after(config: Config, dims: Dims) -> values.Metadata:
    return {
        "lfm2.vocab_size": values.u32(dims.vocab),
        "lfm2.shortconv.l_cache": values.u32(dims.size("kernel")),
        "lfm2.feed_forward_length": values.u32(dims.size("width")),
    }


FIELDS: Fields = {
    **BASE,
    "rms_norm_eps": Field(),
    "norm_eps": Positive(1e-5),
    "hidden_act": Field(),
    "num_key_value_heads": Whole(8),
    "conv_bias": Only(False, why="llama.cpp loads no biases of convolutions"),
    "conv_L_cache": Whole(3),
    "full_attn_idxs": Field(),
    "tie_embedding": Field(),
    "sliding_window": Only(None, why="llama.cpp's converter writes no window here"),
}
LAYER = {
    "operator_norm.weight": Spec(("hidden",)),
    "self_attn.q_proj.weight": Spec(("q", "hidden"), layers=attends),
    "self_attn.k_proj.weight": Spec(("kv", "hidden"), layers=attends),
    "self_attn.v_proj.weight": Spec(("kv", "hidden"), layers=attends),
    "self_attn.out_proj.weight": Spec(("hidden", "q"), layers=attends),
    "self_attn.q_layernorm.weight": Spec(("head_dim",), layers=attends),
    "self_attn.k_layernorm.weight": Spec(("head_dim",), layers=attends),
    "conv.conv.weight": Spec(
        ("hidden", "one", "kernel"),
        layers=convolves,
        parts=(Part("shortconv.conv.weight", ("hidden", "kernel")),),
    ),
    "conv.in_proj.weight": Spec(("hidden3", "hidden"), layers=convolves),
    "conv.out_proj.weight": Spec(("hidden", "hidden"), layers=convolves),
    "ffn_norm.weight": Spec(("hidden",)),
}
MODEL = {
    "model.embed_tokens.weight": Spec(("vocab", "hidden")),
    "model.embedding_norm.weight": Spec(("hidden",)),
    "lm_head.weight": Spec(("vocab", "hidden")),
}

ARCHITECTURE = Architecture(
    name="lfm2",
    hf_names=("Lfm2ForCausalLM", "LFM2ForCausalLM"),
    fields={
        **FIELDS,
        "model_type": Constant("lfm2"),
        "tie_word_embeddings": Flag(True),
        "block_ff_dim": Whole(null=True),
        "block_multiple_of": Whole(256),
        "block_ffn_dim_multiplier": Positive(1.0, null=True),
        "block_auto_adjust_ff_dim": Flag(True),
        "block_dim": Field(),
        "block_mlp_init_scale": Field(),
        "block_norm_eps": Field(),
        "block_out_init_scale": Field(),
        "block_use_swiglu": Field(),
        "block_use_xavier_init": Field(),
        "conv_dim": Field(),
        "conv_dim_out": Field(),
        "conv_use_xavier_init": Field(),
        "num_heads": Field(),
        "use_pos_enc": Field(),
    },
    rope=Scalings(theta=1e6),
    check=check,
    own_sizes=_own_sizes,
    kv_heads=kv_heads,
    after_file_type=_sizes_after,
    model=MODEL,
    layer=LAYER
    | {
        "feed_forward.w1.weight": Spec(("width", "hidden")),
        "feed_forward.w2.weight": Spec(("hidden", "width")),
        "feed_forward.w3.weight": Spec(("width", "hidden")),
    },
)
