"""GLM-4.5 to 4.7: experts that a bias helps to choose, after some dense layers, and one expert that
all share; RoPE on half of each head.

Source: llama.cpp, conversion/glm.py (Glm4MoeModel), src/models/glm4-moe.cpp; transformers'
Glm4MoeConfig for the defaults. Layers beyond ``num_hidden_layers`` predict further tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

import gguf

from qpipe.gguf import values, windows
from qpipe.gguf.arch.base import BASE, MAX_EXPERTS, Architecture, Spec
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import Constant, Field, Flag, Only, Positive, Whole
from qpipe.gguf.scalings import Scalings


def _dense(config: Config, layer: int) -> bool:
    return layer < config.integer("first_k_dense_replace", least=0)


def _sparse(config: Config, layer: int) -> bool:
    return not _dense(config, layer)


def _beyond(config: Config, layer: int) -> bool:
    return layer >= config.integer("num_hidden_layers")


def _own_sizes(config: Config) -> Mapping[str, int]:
    shared = config.integer("n_shared_experts") * config.integer("moe_intermediate_size")
    return {"shared_width": shared}


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    factor = config.section("rope_parameters").positive("partial_rotary_factor")
    dense = config.integer("first_k_dense_replace", least=0)
    fields = {
        "glm4moe.rope.dimension_count": values.u32(int(dims.head_dim * factor)),
        "glm4moe.expert_count": values.u32(dims.experts),
        "glm4moe.expert_feed_forward_length": values.u32(dims.expert_ffn),
        "glm4moe.expert_shared_count": values.u32(config.integer("n_shared_experts")),
        "glm4moe.leading_dense_block_count": values.u32(dense),
        "glm4moe.expert_gating_func": values.u32(gguf.ExpertGatingFuncType.SIGMOID),
        "glm4moe.expert_weights_scale": values.f32(config.positive("routed_scaling_factor")),
        "glm4moe.expert_weights_norm": values.boolean(config.flag("norm_topk_prob")),
    }
    if beyond := dims.layers - config.integer("num_hidden_layers"):
        fields["glm4moe.nextn_predict_layers"] = values.u32(beyond)
    return fields


# Of layers that predict further tokens.
NEXT = {
    "embed_tokens.weight": Spec(
        ("vocab", "hidden"), optional=True, name="nextn.embed_tokens.weight", layers=_beyond
    ),
    "shared_head.head.weight": Spec(
        ("vocab", "hidden"), optional=True, name="nextn.shared_head_head.weight", layers=_beyond
    ),
    "shared_head.norm.weight": Spec(
        ("hidden",), name="nextn.shared_head_norm.weight", layers=_beyond
    ),
    "eh_proj.weight": Spec(("hidden", "hidden2"), name="nextn.eh_proj.weight", layers=_beyond),
    "enorm.weight": Spec(("hidden",), name="nextn.enorm.weight", layers=_beyond),
    "hnorm.weight": Spec(("hidden",), name="nextn.hnorm.weight", layers=_beyond),
}

ARCHITECTURE = Architecture(
    name="glm4moe",
    hf_names=("Glm4MoeForCausalLM",),
    fields={
        **BASE,
        "model_type": Constant("glm4_moe"),
        "num_key_value_heads": Whole(8),
        "rms_norm_eps": Positive(1e-5),
        "attention_bias": Flag(False),
        "moe_intermediate_size": Whole(1408),
        "num_experts_per_tok": Whole(8),
        "n_shared_experts": Whole(1),
        "n_routed_experts": Whole(128, most=MAX_EXPERTS),
        "num_local_experts": Whole(null=True, most=MAX_EXPERTS),
        "routed_scaling_factor": Positive(1.0),
        "n_group": Whole(1),
        "topk_group": Whole(1),
        "first_k_dense_replace": Field(1),
        "norm_topk_prob": Flag(True),
        "use_qk_norm": Flag(False),
        "scoring_func": Only(None, "sigmoid", why="transformers computes sigmoid alone"),
        "topk_method": Only(None, "noaux_tc", why="transformers chooses by no other"),
        "num_mtp_layers": Field(),
        "num_nextn_predict_layers": Field(),
    },
    rope=Scalings(partial=0.5),
    check=windows.everywhere,
    extra_layers="num_nextn_predict_layers",
    own_sizes=_own_sizes,
    expert_counts=("n_routed_experts",),
    after_file_type=_after_file_type,
    model={
        "model.embed_tokens.weight": Spec(("vocab", "hidden")),
        "model.norm.weight": Spec(("hidden",)),
        "lm_head.weight": Spec(("vocab", "hidden")),
    },
    layer={
        "input_layernorm.weight": Spec(("hidden",)),
        "self_attn.q_proj.weight": Spec(("q", "hidden")),
        "self_attn.k_proj.weight": Spec(("kv", "hidden")),
        "self_attn.v_proj.weight": Spec(("kv", "hidden")),
        "self_attn.o_proj.weight": Spec(("hidden", "q")),
        "self_attn.q_proj.bias": Spec(("q",), when="attention_bias"),
        "self_attn.k_proj.bias": Spec(("kv",), when="attention_bias"),
        "self_attn.v_proj.bias": Spec(("kv",), when="attention_bias"),
        "self_attn.q_norm.weight": Spec(("head_dim",), when="use_qk_norm"),
        "self_attn.k_norm.weight": Spec(("head_dim",), when="use_qk_norm"),
        "post_attention_layernorm.weight": Spec(("hidden",)),
        "mlp.gate_proj.weight": Spec(("ffn", "hidden"), layers=_dense),
        "mlp.up_proj.weight": Spec(("ffn", "hidden"), layers=_dense),
        "mlp.down_proj.weight": Spec(("hidden", "ffn"), layers=_dense),
        "mlp.gate.weight": Spec(("experts", "hidden"), layers=_sparse),
        "mlp.gate.e_score_correction_bias": Spec(
            ("experts",), name="exp_probs_b.bias", layers=_sparse
        ),
        "mlp.shared_experts.gate_proj.weight": Spec(("shared_width", "hidden"), layers=_sparse),
        "mlp.shared_experts.up_proj.weight": Spec(("shared_width", "hidden"), layers=_sparse),
        "mlp.shared_experts.down_proj.weight": Spec(("hidden", "shared_width"), layers=_sparse),
        **NEXT,
    },
    experts={
        f"mlp.experts.{{}}.{kind}_proj.weight": Spec(
            ("hidden", "expert_ffn") if kind == "down" else ("expert_ffn", "hidden"), layers=_sparse
        )
        for kind in ("down", "gate", "up")
    },
)
