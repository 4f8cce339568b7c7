"""Ernie 4.5 with experts that a bias helps to choose, and some that all share, after dense layers.

Source: llama.cpp, conversion/ernie.py (Ernie4_5MoeModel), src/models/ernie4-5-moe.cpp;
transformers' Ernie4_5_MoeConfig for the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from qpipe.gguf import general_metadata, values, windows
from qpipe.gguf.arch import ernie4_5
from qpipe.gguf.arch.base import MAX_EXPERTS, Spec
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS, Constant, Field, Only, Whole

_FURTHER = r"model\.mtp_(block|emb_norm|hidden_norm|linear_proj)\."


def _sparse(config: Config, layer: int) -> bool:
    interval = config.integer("moe_layer_interval")
    return layer >= config.integer("moe_layer_start_index") and (layer + 1) % interval == 0


def _dense(config: Config, layer: int) -> bool:
    return not _sparse(config, layer)


def _own_sizes(config: Config) -> Mapping[str, int]:
    width = config.integer("moe_num_shared_experts") * config.integer("moe_intermediate_size")
    return {"shared_width": width}


def _check(config: Config) -> Iterator[str]:
    last = config.integer("num_hidden_layers") - 1
    if config.fields["moe_layer_end_index"] not in (-1, last):
        why = f"llama.cpp computes experts up to the last layer, {last}{OTHER_METHODS}"
        raise config.unfit("moe_layer_end_index", why)
    # What the converter gives for the width of the shared experts.
    width = config.integer("intermediate_size") // config.integer("num_key_value_heads")
    if width != _own_sizes(config)["shared_width"]:
        raise config.unfit(
            "moe_num_shared_experts",
            f"llama.cpp loads shared experts of intermediate_size / num_key_value_heads, {width}, "
            f"alone{OTHER_METHODS}",
        )
    yield from windows.everywhere(config)


def _sizes(config: Config, dims: Dims) -> values.Metadata:
    """Without the numbers of experts, which come later here."""
    usual = replace(ARCHITECTURE, sizes=None)
    return general_metadata.sizes(config, usual, replace(dims, experts=0))


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    counts = {
        "expert_count": "moe_num_experts",
        "expert_used_count": "moe_k",
        "interleave_moe_layer_step": "moe_layer_interval",
        "leading_dense_block_count": "moe_layer_start_index",
        "expert_feed_forward_length": "moe_intermediate_size",
        "expert_shared_count": "moe_num_shared_experts",
    }
    fields = {f"ernie4_5-moe.{key}": values.u32(config.integer(n)) for key, n in counts.items()}
    width = values.u32(dims.size("shared_width"))
    return {**fields, "ernie4_5-moe.expert_shared_feed_forward_length": width}


ARCHITECTURE = replace(
    ernie4_5.ARCHITECTURE,
    name="ernie4_5-moe",
    hf_names=("Ernie4_5_MoeForCausalLM",),
    fields={
        **ernie4_5.FIELDS,
        "model_type": Constant("ernie4_5_moe"),
        "num_key_value_heads": Whole(4),
        "moe_intermediate_size": Whole(1536),
        "moe_k": Whole(6),
        "moe_num_experts": Whole(64, most=MAX_EXPERTS),
        "moe_num_shared_experts": Whole(2),
        "moe_layer_start_index": Whole(1),
        "moe_layer_end_index": Field(-1),
        "moe_layer_interval": Whole(1),
        "moe_norm_min": Only(1e-12, why="llama.cpp has a bound of its own here"),
        "num_experts": Only(None, why="the converter reads moe_num_experts alone"),
        "num_experts_per_tok": Only(None, why="the converter reads moe_k alone"),
    },
    check=_check,
    sizes=_sizes,
    own_sizes=_own_sizes,
    expert_counts=("moe_num_experts",),
    experts_used="moe_k",
    left_out=lambda config: {_FURTHER: "layers that predict further tokens"},
    after_file_type=_after_file_type,
    layer={
        name: replace(spec, layers=_dense) if name.startswith("mlp.") else spec
        for name, spec in ernie4_5.ARCHITECTURE.layer.items()
    }
    | {
        "mlp.gate.weight": Spec(("experts", "hidden"), layers=_sparse),
        "mlp.moe_statics.e_score_correction_bias": Spec(
            ("one", "experts"), name="exp_probs_b.bias", layers=_sparse
        ),
        "mlp.shared_experts.gate_proj.weight": Spec(("shared_width", "hidden"), layers=_sparse),
        "mlp.shared_experts.up_proj.weight": Spec(("shared_width", "hidden"), layers=_sparse),
        "mlp.shared_experts.down_proj.weight": Spec(("hidden", "shared_width"), layers=_sparse),
    },
    experts={
        f"mlp.experts.{{}}.{kind}_proj.weight": Spec(
            ("hidden", "expert_ffn") if kind == "down" else ("expert_ffn", "hidden"), layers=_sparse
        )
        for kind in ("gate", "up", "down")
    },
)
