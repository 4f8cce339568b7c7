"""LFM2 with experts, after some dense layers.

Source: llama.cpp, conversion/lfm2.py (LFM2MoeModel), src/models/lfm2moe.cpp; transformers'
Lfm2MoeConfig for the defaults.
"""

from __future__ import annotations

from dataclasses import replace

import gguf

from qpipe.gguf import values
from qpipe.gguf.arch import lfm2
from qpipe.gguf.arch.base import MAX_EXPERTS, Spec
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import Constant, Flag, Only, Whole


def _dense(config: Config, layer: int) -> bool:
    return layer < config.integer("num_dense_layers")


def _sparse(config: Config, layer: int) -> bool:
    return not _dense(config, layer)


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    sigmoid = gguf.ExpertGatingFuncType.SIGMOID
    return {
        "lfm2moe.expert_feed_forward_length": values.u32(dims.expert_ffn),
        "lfm2moe.leading_dense_block_count": values.u32(config.integer("num_dense_layers")),
        "lfm2moe.expert_gating_func": values.u32(sigmoid),
        "lfm2moe.vocab_size": values.u32(dims.vocab),
        "lfm2moe.shortconv.l_cache": values.u32(dims.size("kernel")),
    }


ARCHITECTURE = replace(
    lfm2.ARCHITECTURE,
    name="lfm2moe",
    hf_names=("Lfm2MoeForCausalLM",),
    fields={
        **lfm2.FIELDS,
        "model_type": Constant("lfm2_moe"),
        "tie_word_embeddings": Flag(True),
        "num_dense_layers": Whole(2),
        "num_experts": Whole(32, most=MAX_EXPERTS),
        "num_experts_per_tok": Whole(4),
        "moe_intermediate_size": Whole(1792),
        "use_expert_bias": Only(True, why="llama.cpp loads no model without biases of experts"),
        "norm_topk_prob": Only(True, why="llama.cpp normalizes the experts' weights here"),
        "routed_scaling_factor": Only(1.0, 1, why="llama.cpp scales no expert's weight here"),
    },
    own_sizes=lfm2.own_sizes,
    expert_counts=("num_local_experts", "num_experts"),
    after_file_type=_after_file_type,
    layer=lfm2.LAYER
    | {
        "feed_forward.w1.weight": Spec(("ffn", "hidden"), layers=_dense),
        "feed_forward.w2.weight": Spec(("hidden", "ffn"), layers=_dense),
        "feed_forward.w3.weight": Spec(("ffn", "hidden"), layers=_dense),
        "feed_forward.gate.weight": Spec(("experts", "hidden"), layers=_sparse),
        "feed_forward.expert_bias": Spec(("experts",), name="exp_probs_b.bias", layers=_sparse),
    },
    experts={
        "feed_forward.experts.{}.w1.weight": Spec(
            ("expert_ffn", "hidden"), name="ffn_gate_exps.weight", layers=_sparse
        ),
        "feed_forward.experts.{}.w2.weight": Spec(
            ("hidden", "expert_ffn"), name="ffn_down_exps.weight", layers=_sparse
        ),
        "feed_forward.experts.{}.w3.weight": Spec(
            ("expert_ffn", "hidden"), name="ffn_up_exps.weight", layers=_sparse
        ),
    },
)
