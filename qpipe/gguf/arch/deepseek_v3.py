"""DeepSeek-V3 and R1: V2 with experts chosen by a sigmoid and a bias, in groups.

Source: llama.cpp, conversion/deepseek.py (DeepseekV2Model); transformers' DeepseekV3Config for the
defaults.
"""

from __future__ import annotations

from dataclasses import replace

from qpipe.gguf.arch import deepseek_v2
from qpipe.gguf.arch.base import MAX_EXPERTS, Spec
from qpipe.gguf.config_fields import Constant, Field, Flag, Only, Positive, Whole

ARCHITECTURE = replace(
    deepseek_v2.ARCHITECTURE,
    hf_names=("DeepseekV3ForCausalLM",),
    fields={
        **deepseek_v2.FIELDS,
        "model_type": Constant("deepseek_v3"),
        "q_lora_rank": Whole(1536, null=True),
        "n_routed_experts": Whole(256, most=MAX_EXPERTS),
        "n_shared_experts": Whole(1),
        "num_experts_per_tok": Whole(8),
        "moe_intermediate_size": Whole(2048),
        "routed_scaling_factor": Positive(2.5),
        "n_group": Whole(8, null=True),
        "topk_group": Whole(4, null=True),
        "first_k_dense_replace": Whole(3, least=0),
        "topk_method": Field(),
        "scoring_func": Only("sigmoid", why="transformers computes sigmoid whatever a file says"),
        "norm_topk_prob": Flag(True),
        "rope_interleave": Only(True, why="llama.cpp turns neighbouring columns here"),
    },
    check=deepseek_v2.check,
    layer=deepseek_v2.LAYER
    | {
        "mlp.gate.e_score_correction_bias": Spec(
            ("experts",), name="exp_probs_b.bias", layers=deepseek_v2.sparse
        )
    },
)
