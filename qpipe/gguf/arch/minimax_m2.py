"""MiniMax-M2: norms over all heads of q and of k, RoPE on a part of each head, experts that a bias
helps to choose.

Source: llama.cpp, conversion/minimax.py (MiniMaxM2Model), src/models/minimax-m2.cpp; transformers'
MiniMaxM2Config for the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpipe.gguf import values
from qpipe.gguf.arch import llama
from qpipe.gguf.arch.base import BASE, MAX_EXPERTS, Architecture, Spec
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import Field, Only, Positive, Whole
from qpipe.gguf.scalings import Scalings

_EXPERT = {"w1": "gate", "w2": "down", "w3": "up"}


def _rotated(config: Config) -> int:
    """The columns of a head that RoPE turns: ``rotary_dim``, as the model\'s own code has it."""
    factor = config.section("rope_parameters").positive("partial_rotary_factor")
    return config.integer("rotary_dim", int(config.integer("head_dim") * factor))


def _check(config: Config) -> Iterator[str]:
    factor = config.section("rope_parameters").positive("partial_rotary_factor")
    by_factor = int(config.integer("head_dim") * factor)
    if factor != 1.0 and _rotated(config) != by_factor:
        raise config.bad("rotary_dim", f"head_dim × partial_rotary_factor ({by_factor})")
    if _rotated(config) != by_factor:
        yield (
            f"{config.path.name}: rotary_dim counts, as in the model's own code; transformers 5.17 "
            "turns whole heads where partial_rotary_factor is missing"
        )


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    return {
        "minimax-m2.expert_feed_forward_length": values.u32(dims.ffn),
        "minimax-m2.rope.dimension_count": values.u32(_rotated(config)),
    }


ARCHITECTURE = Architecture(
    name="minimax-m2",
    hf_names=("MiniMaxM2ForCausalLM",),
    fields={
        **BASE,
        **dict.fromkeys(
            (
                *("attn_type_list", "layernorm_full_attention_beta", "layernorm_mlp_beta"),
                *(
                    "layernorm_linear_attention_beta",
                    "mlp_intermediate_size",
                    "mtp_transformer_layers",
                ),
                *("num_mtp_modules", "use_mtp", "max_model_len", "router_jitter_noise"),
                "shared_moe_mode",
            ),
            Field(),
        ),
        "model_type": Only("minimax_m2", "minimax", why="llama.cpp knows no other here"),
        "head_dim": Whole(128),
        "num_key_value_heads": Whole(8),
        "rms_norm_eps": Positive(1e-6),
        "rotary_dim": Whole(null=True),
        "num_local_experts": Whole(256, most=MAX_EXPERTS),
        "num_experts": Whole(null=True, most=MAX_EXPERTS),
        "num_experts_per_tok": Whole(8),
        "scoring_func": Only("sigmoid", why="transformers computes sigmoid whatever a file says"),
        "use_qk_norm": Only(True, why="llama.cpp loads no model without these norms"),
        "qk_norm_type": Only("per_layer", why="llama.cpp loads norms over all heads"),
        "use_routing_bias": Only(True, why="llama.cpp loads no model without biases of experts"),
        "shared_intermediate_size": Only(0, why="llama.cpp computes no shared expert here"),
    },
    rope=Scalings(theta=5e6, partial=1.0),
    check=_check,
    own_head=True,
    expert_counts=("num_local_experts", "num_experts"),
    after_file_type=_after_file_type,
    model=llama.ARCHITECTURE.model,
    layer={
        "input_layernorm.weight": Spec(("hidden",)),
        "self_attn.q_proj.weight": Spec(("q", "hidden")),
        "self_attn.k_proj.weight": Spec(("kv", "hidden")),
        "self_attn.v_proj.weight": Spec(("kv", "hidden")),
        "self_attn.o_proj.weight": Spec(("hidden", "q")),
        "self_attn.q_norm.weight": Spec(("q",)),
        "self_attn.k_norm.weight": Spec(("kv",)),
        "post_attention_layernorm.weight": Spec(("hidden",)),
        "block_sparse_moe.gate.weight": Spec(("experts", "hidden")),
        "block_sparse_moe.e_score_correction_bias": Spec(("experts",), name="exp_probs_b.bias"),
    },
    experts={
        f"block_sparse_moe.experts.{{}}.{name}.weight": Spec(
            ("hidden", "ffn") if kind == "down" else ("ffn", "hidden"),
            name=f"ffn_{kind}_exps.weight",
        )
        for name, kind in _EXPERT.items()
    },
)
