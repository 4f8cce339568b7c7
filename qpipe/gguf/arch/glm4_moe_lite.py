"""GLM-4.7-Flash: DeepSeek-V3's attention and experts under GLM's name; in GGUF it is a DeepSeek-V2.

Source: llama.cpp, conversion/glm.py (Glm4MoeLiteModel), src/models/deepseek2.cpp; transformers'
Glm4MoeLiteConfig for the defaults. Layers beyond ``num_hidden_layers`` predict further tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qpipe.gguf import values
from qpipe.gguf.arch import deepseek_v2, deepseek_v3, glm4_moe
from qpipe.gguf.arch.base import MAX_EXPERTS, Architecture
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS, Constant, Field, Only, Positive, Whole
from qpipe.gguf.scalings import Scalings

# By these llama.cpp takes a model for one whose experts a sigmoid chooses, where no key tells.
_PUBLISHED = ((47, 154880), (48, 154880))  # layers, tokens


def _check(config: Config) -> Iterator[str]:
    dense = config.integer("first_k_dense_replace", least=0)
    layers = config.integer("num_hidden_layers")
    usual = ["dense"] * dense + ["sparse"] * (layers - dense)
    kinds = config.fields.get("mlp_layer_types") or ["dense"] + ["sparse"] * (layers - 1)
    if kinds != usual:
        why = f"llama.cpp has first_k_dense_replace, {dense}, dense layers in front{OTHER_METHODS}"
        given = "mlp_layer_types" if config.has("mlp_layer_types") else "first_k_dense_replace"
        raise config.unfit(given, why)
    yield from deepseek_v2.check(config)


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    fields = deepseek_v2.after_file_type(config, dims)
    if beyond := dims.layers - config.integer("num_hidden_layers"):
        fields["deepseek2.nextn_predict_layers"] = values.u32(beyond)
    return fields


def _variant(config: Config) -> Architecture:
    """Say how experts are chosen unless llama.cpp knows it of a model of this size."""
    sizes = (config.fields.get("num_hidden_layers"), config.fields.get("vocab_size"))
    if sizes in _PUBLISHED:
        return ARCHITECTURE
    return replace(ARCHITECTURE, fields={**ARCHITECTURE.fields, "scoring_func": _SIGMOID})


_SIGMOID = Only("sigmoid", why="transformers computes sigmoid whatever a file says")

ARCHITECTURE = replace(
    deepseek_v3.ARCHITECTURE,
    hf_names=("Glm4MoeLiteForCausalLM",),
    fields={
        **deepseek_v3.ARCHITECTURE.fields,
        "model_type": Constant("glm4_moe_lite"),
        "rms_norm_eps": Positive(1e-5),
        "q_lora_rank": Whole(768, null=True),
        "qk_nope_head_dim": Whole(192),
        "v_head_dim": Whole(256),
        "n_routed_experts": Whole(64, most=MAX_EXPERTS),
        "num_experts_per_tok": Whole(4),
        "moe_intermediate_size": Whole(1536),
        "routed_scaling_factor": Positive(1.8),
        "n_group": Whole(1),
        "topk_group": Whole(1),
        "first_k_dense_replace": Whole(0, least=0),
        "mlp_layer_types": Field(),
        "scoring_func": Only(None, "sigmoid", why="transformers computes sigmoid alone"),
    },
    rope=Scalings(read=("beta_fast", "beta_slow"), log_multiplier="equal"),
    variant=_variant,
    check=_check,
    left_out=lambda config: {},
    extra_layers="num_nextn_predict_layers",
    after_file_type=_after_file_type,
    layer={**deepseek_v3.ARCHITECTURE.layer, **glm4_moe.NEXT},
)
