"""Edits of config.json of the families of today, and what must become of each."""

from __future__ import annotations

from typing import Any

from tests.gguf.logits import REMOVED, WINDOW

Edit = tuple[str, dict[str, Any]]

ROPE = {"rope_type": "default", "rope_theta": 1e4}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}
YARN |= {"original_max_position_embeddings": 32}
HALF = {"partial_rotary_factor": 0.5}
BETA = {"llama_4_scaling_beta": 0.1}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 1.0}
LLAMA3 |= {"original_max_position_embeddings": 32}
FULL, SLIDING, LINEAR, CONV = "full_attention", "sliding_attention", "linear_attention", "conv"

# Of every family.
SHARED: list[Edit] = [
    ("noted", {"of_nobody": 3}),
    ("refused", {"model_type": "opt"}),
    ("refused", {"is_causal": False}),
]
SILU: list[Edit] = [("refused", {"hidden_act": "gelu"})]
EPSILON: list[Edit] = [("equal", {"rms_norm_eps": 1e-3})]
BIASES: list[Edit] = [("refused", {"attention_bias": True})]

DELTA_NET: list[Edit] = [
    *(*SHARED, *SILU, *EPSILON, *BIASES),
    ("equal", {"layer_types": [LINEAR] * 3 + [FULL]}),
    ("refused", {"layer_types": [LINEAR] * 2 + [FULL] * 2}),
    ("refused", {"full_attention_interval": 1}),
    ("refused", {"linear_value_head_dim": 8}),
    ("refused", {"linear_num_value_heads": 3}),
    ("equal", {"rope_parameters": ROPE | {"partial_rotary_factor": 0.5}}),
    ("equal", {"rope_parameters": YARN}),
]
SECTIONS: list[Edit] = [
    (
        "refused",
        {"rope_parameters": ROPE | HALF | {"mrope_section": [4, 2, 2]}},
    ),
    ("refused", {"rope_parameters": ROPE | {"mrope_section": "a"}}),
]
SHORT_CONVOLUTION: list[Edit] = [
    *SHARED,
    ("equal", {"norm_eps": 1e-3}),
    ("equal", {"rope_theta": 5e5}),
    ("refused", {"conv_bias": True}),
    ("refused", {"layer_types": [CONV] * 3}),
    ("refused", {"layer_types": [FULL, "linear_attention", CONV]}),
]
MLA: list[Edit] = [
    *(*SHARED, *SILU, *BIASES),
    ("noted", {"rms_norm_eps": 1e-5}),
    ("refused", {"num_key_value_heads": 2}),
    ("refused", {"scoring_func": "tanh"}),
    ("refused", {"rope_parameters": YARN | {"mscale": 1.0, "mscale_all_dim": 0.5}}),
    ("equal", {"rope_parameters": YARN | {"mscale": 0.7, "mscale_all_dim": 0.7}}),
    ("equal", {"routed_scaling_factor": 3.0}),
]

FAMILIES: dict[str, list[Edit]] = {
    "qwen3_next": [
        *DELTA_NET,
        ("refused", {"norm_topk_prob": False}),
        ("refused", {"mlp_only_layers": [0]}),
    ],
    "qwen3_5_text": [*DELTA_NET, *SECTIONS],
    "qwen3_5_moe_text": [*DELTA_NET, *SECTIONS, ("equal", {"num_experts_per_tok": 3})],
    "gpt_oss": [
        *(*SHARED, *EPSILON),
        ("equal", {"sliding_window": 7}),
        ("refused", {"sliding_window": None}),
        ("refused", {"layer_types": [FULL, SLIDING] * 2}),
        ("refused", {"attention_bias": False}),
        ("refused", {"rope_parameters": ROPE}),
        ("refused", {"swiglu_limit": 5.0}),
    ],
    "lfm2": [
        *SHORT_CONVOLUTION,
        ("refused", {"num_attention_heads": 3}),
    ],
    "lfm2_moe": [
        *SHORT_CONVOLUTION,
        ("refused", {"use_expert_bias": False}),
        ("refused", {"norm_topk_prob": False}),
        ("refused", {"routed_scaling_factor": 2.0}),
    ],
    "mistral3": [
        *(*SHARED, *SILU, *EPSILON),
        ("refused", {"rms_norm_eps": REMOVED}),
        ("equal", {"rope_parameters": YARN}),
        ("equal", {"rope_parameters": YARN | {"beta_fast": 16.0, "beta_slow": 2.0}}),
        ("noted", {"sliding_window": WINDOW}),
    ],
    "ministral3": [
        *(*SHARED, *SILU, *EPSILON),
        ("refused", {"rope_parameters": ROPE}),
        ("refused", {"rope_parameters": YARN | {"llama_4_scaling_beta": None}}),
        (
            "refused",
            {"rope_parameters": YARN | {"mscale": 0.5, "mscale_all_dim": 1.0} | BETA},
        ),
        (
            "equal",
            {"rope_parameters": YARN | {"mscale": 1.0, "mscale_all_dim": 0.5} | BETA},
        ),
    ],
    "minimax_m2": [
        *(*SHARED, *SILU, *EPSILON),
        ("refused", {"scoring_func": "softmax"}),
        ("equal", {"scoring_func": REMOVED}),
        ("refused", {"rotary_dim": 8}),
        ("refused", {"use_qk_norm": False}),
        ("refused", {"shared_intermediate_size": 32}),
    ],
    "llama4_text": [
        *(*SHARED, *SILU, *EPSILON),
        ("refused", {"attention_chunk_size": 4}),
        ("refused", {"no_rope_layers": [1, 1, 0, 1]}),
        ("refused", {"use_qk_norm": False}),
        ("refused", {"num_experts_per_tok": 2}),
        ("refused", {"attn_scale": 0.5}),
        ("equal", {"rope_scaling": LLAMA3}),
        ("refused", {"moe_layers": [0]}),
    ],
    "deepseek_v2": [
        *MLA,
        ("refused", {"q_lora_rank": 24}),
        ("refused", {"norm_topk_prob": True}),
        ("refused", {"topk_method": "group_limited_greedy", "n_group": 8, "topk_group": 8}),
        ("refused", {"topk_method": "noaux_tc"}),
    ],
    "deepseek_v3": [
        *MLA,
        ("equal", {"norm_topk_prob": False}),
        ("refused", {"rope_interleave": False}),
        ("equal", {"n_group": 4, "topk_group": 2}),
    ],
    "gemma4_text": [
        *(*SHARED, *EPSILON, *BIASES),
        ("equal", {"final_logit_softcapping": 5.0}),
        ("refused", {"num_kv_shared_layers": 4}),
        ("refused", {"use_bidirectional_attention": "all"}),
        ("refused", {"per_layer_config": {"0": {"head_dim": 16}}}),
        ("refused", {"attn_logit_softcapping": 50.0}),
        ("equal", {"sliding_window": 7}),
    ],
    "gemma4_moe": [
        ("equal", {"top_k_experts": 3}),
        ("equal", {"final_logit_softcapping": None}),
        ("refused", {"num_experts": None}),
        ("refused", {"hidden_activation": "silu"}),
    ],
    "gemma3n_text": [
        *(*SHARED, *BIASES),
        ("refused", {"laurel_rank": 32}),
        ("refused", {"num_kv_shared_layers": 4}),
        ("refused", {"activation_sparsity_pattern": 0.9}),
        ("refused", {"altup_num_inputs": 2}),
        ("refused", {"intermediate_size": [96] * 24 + [64]}),
        ("refused", {"layer_types": [SLIDING] * 25}),
    ],
    "phi4_mini": [("noted", {"rms_norm_eps": 1e-3})],
}  # fmt: skip
"""By model, as in tests/gguf/logits.py."""
