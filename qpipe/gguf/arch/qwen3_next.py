"""Qwen3-Next: three layers of linear attention (a gated delta net), then one of full attention.

Source: llama.cpp, conversion/qwen.py (Qwen3NextModel, _QwenMtpMixin), src/models/qwen3next.cpp;
transformers' Qwen3NextConfig for the defaults. Layers that predict further tokens (``mtp.``) become
the last ones, as the converter has them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from qpipe.gguf import values
from qpipe.gguf.arch import multimodal, qwen2_moe, views
from qpipe.gguf.arch.base import ALIKE, BASE, MAX_EXPERTS, Architecture, Part, Spec
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.arch.views import Array
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS, Constant, Field, Fields, Only, Whole
from qpipe.gguf.scalings import Scalings

FULL, LINEAR = "full_attention", "linear_attention"

MTP = {
    "fc": "eh_proj",
    "pre_fc_norm_embedding": "enorm",
    "pre_fc_norm_hidden": "hnorm",
    "norm": "shared_head.norm",
}


def is_full(config: Config, layer: int) -> bool:
    """True for a layer of full attention: every fourth, and those that predict further tokens."""
    beyond = layer >= config.integer("num_hidden_layers")
    return beyond or (layer + 1) % config.integer("full_attention_interval", 4) == 0


def _is_linear(config: Config, layer: int) -> bool:
    return not is_full(config, layer)


def _is_first_beyond(config: Config, layer: int) -> bool:
    return layer == config.integer("num_hidden_layers")


def check(config: Config) -> Iterator[str]:
    """Refuse layers in another order, and value heads of another size than key heads."""
    layers = range(config.integer("num_hidden_layers"))
    usual = [FULL if is_full(config, i) else LINEAR for i in layers]
    if config.has("layer_types") and config.fields["layer_types"] != usual:
        why = f"llama.cpp computes full attention in each of full_attention_interval{OTHER_METHODS}"
        raise config.unfit("layer_types", why)
    if LINEAR not in usual:
        why = f"llama.cpp runs no such model without linear attention{OTHER_METHODS}"
        raise config.unfit("full_attention_interval", why)
    key, value = (config.integer(f"linear_{name}_head_dim") for name in ("key", "value"))
    if key != value:
        why = f"llama.cpp loads those of linear_key_head_dim, {key}, alone{OTHER_METHODS}"
        raise config.unfit("linear_value_head_dim", why)
    if config.integer("linear_num_value_heads") % config.integer("linear_num_key_heads"):
        raise config.bad("linear_num_value_heads", "a multiple of linear_num_key_heads")
    yield from ()


def own_sizes(config: Config) -> Mapping[str, int]:
    """The sizes of linear attention."""
    k_heads, v_heads = (config.integer(f"linear_num_{name}_heads") for name in ("key", "value"))
    k_dim, v_dim = (config.integer(f"linear_{name}_head_dim") for name in ("key", "value"))
    keys, values_ = k_heads * k_dim, v_heads * v_dim
    return {
        "k_heads": k_heads,
        "v_heads": v_heads,
        "twice_v_heads": 2 * v_heads,
        "keys": keys,
        "values": values_,
        "v_dim": v_dim,
        "qkv_linear": 2 * keys + values_,
        "qkvz": 2 * keys + 2 * values_,
        "kernel": config.integer("linear_conv_kernel_dim"),
    }


def _grouped(stored: Array, dims: Dims) -> Sequence[Array]:
    """q, k, v and z of rows that have them by key head."""
    heads, keys = dims.size("k_heads"), dims.size("keys") // dims.size("k_heads")
    some = dims.size("values") // heads
    by_head = stored.reshape(heads, 2 * (keys + some), *stored.shape[1:])
    ends = (0, keys, 2 * keys, 2 * keys + some, 2 * (keys + some))
    return [by_head[:, start:stop] for start, stop in itertools.pairwise(ends)]


def _qkv(stored: Array, dims: Dims) -> Sequence[Array]:
    return _grouped(stored, dims)[:3]


def _z(stored: Array, dims: Dims) -> Array:
    return _grouped(stored, dims)[3]


def renamed(name: str, config: Config) -> str:
    """The name of a tensor of the text model; those of ``mtp.`` are of further layers."""
    name = multimodal.renamed(name, config)
    layers = config.integer("num_hidden_layers")
    numbered = re.match(r"(?:model\.)?mtp\.layers\.(\d+)\.(.*)", name)
    if numbered is not None:
        return f"model.layers.{layers + int(numbered[1])}.{numbered[2]}"
    single = re.fullmatch(r"(?:model\.)?mtp\.(\w+)\.weight", name)
    if single is not None and single[1] in MTP:
        return f"model.layers.{layers}.{MTP[single[1]]}.weight"
    return name


def linear_metadata(config: Config, arch: str) -> values.Metadata:
    """The hyperparameters of linear attention."""
    heads = config.integer("linear_num_value_heads")
    factor = config.section("rope_parameters").positive("partial_rotary_factor")
    return {
        f"{arch}.ssm.conv_kernel": values.u32(config.integer("linear_conv_kernel_dim")),
        f"{arch}.ssm.state_size": values.u32(config.integer("linear_key_head_dim")),
        f"{arch}.ssm.group_count": values.u32(config.integer("linear_num_key_heads")),
        f"{arch}.ssm.time_step_rank": values.u32(heads),
        f"{arch}.ssm.inner_size": values.u32(config.integer("linear_value_head_dim") * heads),
        f"{arch}.full_attention_interval": values.u32(config.integer("full_attention_interval", 4)),
        f"{arch}.rope.dimension_count": values.u32(int(config.integer("head_dim") * factor)),
    }


def after_file_type(arch: str) -> Callable[[Config, Dims], values.Metadata]:
    """The keys of experts, of layers that predict further tokens, and of linear attention."""

    def metadata(config: Config, dims: Dims) -> values.Metadata:
        fields: values.Metadata = {}
        if dims.experts:
            fields[f"{arch}.expert_feed_forward_length"] = values.u32(dims.expert_ffn)
            shared = values.u32(dims.shared_ffn)
            fields[f"{arch}.expert_shared_feed_forward_length"] = shared
        if beyond := dims.layers - config.integer("num_hidden_layers"):
            fields[f"{arch}.nextn_predict_layers"] = values.u32(beyond)
        return fields | linear_metadata(config, arch)

    return metadata


NORM = Spec(("hidden",), compute=views.plus_one)

MODEL = {
    "model.embed_tokens.weight": Spec(("vocab", "hidden")),
    "model.norm.weight": NORM,
    "lm_head.weight": Spec(("vocab", "hidden")),
}
ATTENTION = {
    "input_layernorm.weight": NORM,
    "self_attn.q_proj.weight": Spec(("q2", "hidden"), layers=is_full),
    "self_attn.k_proj.weight": Spec(("kv", "hidden"), layers=is_full),
    "self_attn.v_proj.weight": Spec(("kv", "hidden"), layers=is_full),
    "self_attn.o_proj.weight": Spec(("hidden", "q"), layers=is_full),
    "self_attn.q_norm.weight": Spec(("head_dim",), layers=is_full, compute=views.plus_one),
    "self_attn.k_norm.weight": Spec(("head_dim",), layers=is_full, compute=views.plus_one),
    "post_attention_layernorm.weight": NORM,
}
FURTHER_TOKENS = {
    "eh_proj.weight": Spec(
        ("hidden", "hidden2"), name="nextn.eh_proj.weight", layers=_is_first_beyond
    ),
    "enorm.weight": Spec(
        ("hidden",), name="nextn.enorm.weight", layers=_is_first_beyond, compute=views.plus_one
    ),
    "hnorm.weight": Spec(
        ("hidden",), name="nextn.hnorm.weight", layers=_is_first_beyond, compute=views.plus_one
    ),
    "shared_head.norm.weight": Spec(
        ("hidden",),
        name="nextn.shared_head_norm.weight",
        layers=_is_first_beyond,
        compute=views.plus_one,
    ),
}


def linear(
    *, in_projections: Mapping[str, Spec], heads: views.View, kernels: views.View, out: views.View
) -> dict[str, Spec]:
    """The tensors of linear attention: ``heads`` shows the value heads of vectors, ``kernels``
    those among the channels of the convolution, ``out`` those among columns."""
    specs = {
        **in_projections,
        "linear_attn.conv1d.weight": Spec(
            ("qkv_linear", "one", "kernel"),
            parts=(Part("ssm_conv1d.weight", ("qkv_linear", "kernel"), kernels),),
        ),
        "linear_attn.dt_bias": Spec(("v_heads",), name="ssm_dt.bias", view=heads),
        "linear_attn.A_log": Spec(("v_heads",), name="ssm_a", view=heads, compute=views.minus_exp),
        "linear_attn.norm.weight": Spec(("v_dim",), name="ssm_norm.weight"),
        "linear_attn.out_proj.weight": Spec(("hidden", "values"), name="ssm_out.weight", view=out),
    }
    return {name: replace(spec, layers=_is_linear) for name, spec in specs.items()}


EXPERTS_IN_ONE = {
    "mlp.experts.gate_up_proj": Spec(
        ("experts", "expert_ffn2", "hidden"),
        parts=(
            Part("ffn_gate_exps.weight", ("experts", "expert_ffn", "hidden"), views.half(0)),
            Part("ffn_up_exps.weight", ("experts", "expert_ffn", "hidden"), views.half(1)),
        ),
    ),
    "mlp.experts.down_proj": Spec(("experts", "hidden", "expert_ffn"), name="ffn_down_exps.weight"),
}

LINEAR_FIELDS: Fields = {
    "head_dim": Whole(256),
    "attention_bias": Only(False, why="llama.cpp loads no biases here"),
    "linear_conv_kernel_dim": Whole(4),
    "linear_key_head_dim": Whole(128),
    "linear_value_head_dim": Whole(128),
    "linear_num_key_heads": Whole(16),
    "linear_num_value_heads": Whole(32),
    "full_attention_interval": Whole(4),
    "attn_output_gate": Only(True, why="llama.cpp computes a gate of attention"),
    "mamba_ssm_dtype": Field(),
    "mlp_only_layers": Only(None, [], why=ALIKE),
    "mtp_num_hidden_layers": Field(),
    "mtp_use_dedicated_embeddings": Only(None, False, why="llama.cpp takes the model's embeddings"),
}
EXPERT_FIELDS: Fields = {
    "intermediate_size": Whole(null=True),
    "num_experts": Whole(256, most=MAX_EXPERTS),
    "num_local_experts": Whole(null=True, most=MAX_EXPERTS),
    "num_experts_per_tok": Whole(8),
    "moe_intermediate_size": Whole(512),
    "shared_expert_intermediate_size": Whole(512),
}

ARCHITECTURE = Architecture(
    name="qwen3next",
    hf_names=("Qwen3NextForCausalLM",),
    fields={
        **BASE,
        **LINEAR_FIELDS,
        **EXPERT_FIELDS,
        **qwen2_moe.EVERY_LAYER,
        "model_type": Constant("qwen3_next"),
        "intermediate_size": Whole(5632),
        "num_key_value_heads": Whole(2),
        "num_experts": Whole(512, most=MAX_EXPERTS),
        "num_experts_per_tok": Whole(10),
        "norm_topk_prob": Only(True, why="llama.cpp normalizes the experts' weights here"),
    },
    rope=Scalings(partial=0.25),
    check=check,
    own_sizes=own_sizes,
    renamed=renamed,
    extra_layers="mtp_num_hidden_layers",
    expert_counts=("num_local_experts", "num_experts"),
    after_file_type=after_file_type("qwen3next"),
    model=MODEL,
    layer=ATTENTION
    | linear(
        in_projections={
            "linear_attn.in_proj_qkvz.weight": Spec(
                ("qkvz", "hidden"),
                parts=(
                    Part("attn_qkv.weight", ("qkv_linear", "hidden"), _qkv),
                    Part("attn_gate.weight", ("values", "hidden"), _z),
                ),
            ),
            "linear_attn.in_proj_ba.weight": Spec(
                ("twice_v_heads", "hidden"), name="ssm_ba.weight"
            ),
        },
        heads=views.whole,
        kernels=views.whole,
        out=views.whole,
    )
    | FURTHER_TOKENS
    | qwen2_moe.ROUTER
    | qwen2_moe.SHARED,
    experts=qwen2_moe.EXPERTS,
    layouts=(EXPERTS_IN_ONE,),
)
