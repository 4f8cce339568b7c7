"""Granite 4: layers of Mamba 2 and a few of attention, without RoPE; with experts beside a network
that all share, or with that alone. Models of attention alone are Granite 3 to GGUF, with RoPE.

Source: llama.cpp, conversion/granite.py (GraniteHybridModel) and mamba.py (Mamba2Model),
src/models/granite-hybrid.cpp; transformers' GraniteMoeHybridConfig for the defaults.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from qpipe.gguf import general_metadata, values
from qpipe.gguf.arch import granite, granite_moe, llama, views
from qpipe.gguf.arch.base import Architecture, Part, Spec, plain_heads
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS, Constant, Field, Flag, Only, Whole
from qpipe.gguf.scalings import Scalings

_CONTEXT = 1 << 20  # without RoPE there is no end to it
_KINDS = {
    "mamba": "mamba",
    "linear_attention": "mamba",
    "attention": "attention",
    "full_attention": "attention",
}


def _kinds(config: Config) -> list[str]:
    """Each layer's kind, by the names of transformers 4 or 5."""
    count, given = config.integer("num_hidden_layers"), config.fields.get("layer_types")
    if given is None:
        return ["mamba"] * count
    if not isinstance(given, list) or len(given) != count or set(given) - set(_KINDS):
        raise config.bad("layer_types", f"one of {', '.join(_KINDS)} for each layer")
    return [_KINDS[kind] for kind in given]


def _attends(config: Config, layer: int) -> bool:
    return _kinds(config)[layer] == "attention"


def _recurs(config: Config, layer: int) -> bool:
    return not _attends(config, layer)


def _kv_heads(config: Config, dims: Dims) -> Sequence[int]:
    return [dims.kv_heads if kind == "attention" else 0 for kind in _kinds(config)]


def _check(config: Config) -> Iterator[str]:
    hybrid, rotates = "mamba" in _kinds(config), config.fields.get("position_embedding_type")
    if hybrid == (rotates == "rope"):
        which = "without RoPE alone" if hybrid else "of attention alone with RoPE alone"
        why = f"llama.cpp computes such models {which}{OTHER_METHODS}"
        raise config.unfit("position_embedding_type", why)
    width, heads = 2 * config.integer("hidden_size"), config.integer("mamba_n_heads")
    if hybrid and width % heads:
        raise config.bad("mamba_n_heads", f"a divisor of 2 × hidden_size ({width})")
    if hybrid and config.fields["mamba_d_head"] not in ("auto", width // heads):
        raise config.bad("mamba_d_head", f"2 × hidden_size / mamba_n_heads ({width // heads})")
    if hybrid and config.integer("vocab_size") % 8:
        why = f"the converter writes more tokens than embeddings unless 8 divides it{OTHER_METHODS}"
        raise config.unfit("vocab_size", why)
    plain_heads(config)
    yield from ()


def _own_sizes(config: Config) -> Mapping[str, int]:
    heads, state = config.integer("mamba_n_heads"), config.integer("mamba_d_state")
    inner, shared = 2 * config.integer("hidden_size"), config.integer("shared_intermediate_size")
    return {
        "mamba_heads": heads,
        "inner": inner,
        "mixed": inner + 2 * state,
        "projected": 2 * inner + 2 * state + heads,
        "kernel": config.integer("mamba_d_conv"),
        "shared_width": shared,
        "shared_width2": 2 * shared,
    }


def _sizes_without_experts(config: Config, dims: Dims) -> values.Metadata:
    own = _named(config, _DENSE)
    used = config.integer("num_experts_per_tok", least=0)
    return general_metadata.sizes(config, replace(own, sizes=None), dims) | {
        f"{own.name}.expert_count": values.u32(0),
        f"{own.name}.expert_used_count": values.u32(used),
    }


def _after_file_type(arch: str) -> Callable[[Config, Dims], values.Metadata]:
    def metadata(config: Config, dims: Dims) -> values.Metadata:
        hybrid = "mamba" in _kinds(config)
        fields = granite.after_file_type(arch)(config, dims) | {
            f"{arch}.expert_shared_feed_forward_length": values.u32(dims.size("shared_width")),
            f"{arch}.ssm.conv_kernel": values.u32(dims.size("kernel")),
            f"{arch}.ssm.state_size": values.u32(config.integer("mamba_d_state")),
            f"{arch}.ssm.group_count": values.u32(1),
            f"{arch}.ssm.inner_size": values.u32(dims.size("inner")),
            f"{arch}.ssm.time_step_rank": values.u32(dims.size("mamba_heads")),
            f"{arch}.rope.scaling.finetuned": values.boolean(not hybrid),
        }
        return fields | ({f"{arch}.context_length": values.u32(_CONTEXT)} if hybrid else {})

    return metadata


def _shared(suffix: str) -> Mapping[str, Spec]:
    """The network that all tokens go through."""
    return {
        "shared_mlp.input_linear.weight": Spec(
            ("shared_width2", "hidden"),
            parts=(
                Part(f"ffn_gate{suffix}.weight", ("shared_width", "hidden"), views.half(0)),
                Part(f"ffn_up{suffix}.weight", ("shared_width", "hidden"), views.half(1)),
            ),
        ),
        "shared_mlp.output_linear.weight": Spec(
            ("hidden", "shared_width"), name=f"ffn_down{suffix}.weight"
        ),
    }


_ATTENTION = {
    name: replace(spec, layers=_attends)
    for name, spec in llama.ARCHITECTURE.layer.items()
    if name.startswith("self_attn.")
}
_MAMBA = {
    "mamba.A_log": Spec(
        ("mamba_heads",), parts=(Part("ssm_a", ("mamba_heads", "one")),), compute=views.minus_exp
    ),
    "mamba.D": Spec(("mamba_heads",), parts=(Part("ssm_d", ("mamba_heads", "one")),)),
    "mamba.conv1d.bias": Spec(("mixed",), when="mamba_conv_bias", name="ssm_conv1d.bias"),
    "mamba.conv1d.weight": Spec(
        ("mixed", "one", "kernel"), parts=(Part("ssm_conv1d.weight", ("mixed", "kernel")),)
    ),
    "mamba.dt_bias": Spec(("mamba_heads",), name="ssm_dt.bias"),
    "mamba.in_proj.weight": Spec(("projected", "hidden"), name="ssm_in.weight"),
    "mamba.norm.weight": Spec(("inner",), parts=(Part("ssm_norm.weight", ("one", "inner")),)),
    "mamba.out_proj.weight": Spec(("hidden", "inner"), name="ssm_out.weight"),
}
_LAYER = {
    "input_layernorm.weight": Spec(("hidden",)),
    **_ATTENTION,
    **{name: replace(spec, layers=_recurs) for name, spec in _MAMBA.items()},
    "post_attention_layernorm.weight": Spec(("hidden",)),
}


def _variant(config: Config) -> Architecture:
    """The model with experts or without, under the name that it has in GGUF."""
    return _named(
        config, ARCHITECTURE if config.integer("num_local_experts", 8, least=0) else _DENSE
    )


def _named(config: Config, architecture: Architecture) -> Architecture:
    if "mamba" in _kinds(config):
        return architecture
    used = config.integer("num_experts_per_tok", 2, least=0)
    name = "granitemoe" if used else "granite"
    return replace(architecture, name=name, after_file_type=_after_file_type(name))


ARCHITECTURE = replace(
    granite_moe.ARCHITECTURE,
    name="granitehybrid",
    hf_names=("GraniteMoeHybridForCausalLM",),
    fields={
        **granite_moe.FIELDS,
        "model_type": Constant("granitemoehybrid"),
        "num_local_experts": Field(8),
        "num_experts_per_tok": Field(2),
        "shared_intermediate_size": Whole(1024),
        "layers_block_type": Only(None, why="llama.cpp's converter reads layer_types alone"),
        "position_embedding_type": Field(),
        "mamba_n_heads": Whole(128),
        "mamba_n_groups": Only(1, why="llama.cpp takes the norm of each group by itself"),
        "mamba_d_state": Whole(256),
        "mamba_d_head": Field("auto"),
        "mamba_d_conv": Whole(4),
        "mamba_expand": Only(2, why="llama.cpp has no other"),
        "mamba_chunk_size": Field(),
        "mamba_conv_bias": Flag(True),
        "mamba_proj_bias": Only(False, why="llama.cpp loads no biases of these projections"),
        "time_step_limit": Only(
            *([0.0, {"__float__": "Infinity"}], [0.0, math.inf], None),
            why="llama.cpp bounds no time steps",
        ),
    },
    rope=Scalings(kinds=("default",)),
    variant=_variant,
    check=_check,
    own_sizes=_own_sizes,
    kv_heads=_kv_heads,
    after_file_type=_after_file_type("granitehybrid"),
    layer={**_LAYER, **granite_moe.EXPERTS, **_shared("_shexp")},
)
_DENSE = replace(
    ARCHITECTURE,
    expert_counts=(),
    sizes=_sizes_without_experts,
    layer={**_LAYER, **_shared("")},
)
