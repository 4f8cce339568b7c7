"""Edits of config.json of open models that are much like Llama, and what must become of each."""

from __future__ import annotations

from typing import Any

from tests.gguf.logits import WINDOW

Edit = tuple[str, dict[str, Any]]

FULL, SLIDING = "full_attention", "sliding_attention"
DEFAULT = {"rope_type": "default", "rope_theta": 2e4}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
ALPHA = {"rope_type": "dynamic", "factor": 1.0, "rope_theta": 1e4}

# Of all of them.
SHARED: list[Edit] = [
    ("noted", {"of_nobody": 3}),
    ("equal", {"rms_norm_eps": 1e-3}),
    ("refused", {"model_type": "opt"}),
    ("refused", {"is_causal": False}),
    ("refused", {"hidden_act": "gelu"}),
]
ROPE: list[Edit] = [
    ("equal", {"rope_parameters": DEFAULT}),
    ("equal", {"rope_scaling": YARN}),
    ("refused", {"partial_rotary_factor": 0.5}),
]
OWN_HEADS: list[Edit] = [("equal", {"head_dim": 48}), ("equal", {"num_key_value_heads": 1})]
PLAIN_HEADS: list[Edit] = [("refused", {"head_dim": 32}), ("equal", {"num_key_value_heads": 4})]
HALF: list[Edit] = [
    ("equal", {"rope_parameters": DEFAULT}),
    ("equal", {"rope_parameters": DEFAULT | {"partial_rotary_factor": 1.0}}),
]
MULTIPLIERS: list[Edit] = [
    ("equal", {"attention_multiplier": 0.3}),
    ("equal", {"embedding_multiplier": 3, "logits_scaling": 0.5, "residual_multiplier": 0.5}),
    ("refused", {"attention_multiplier": 0}),
]

OPEN: dict[str, list[Edit]] = {
    "smollm3": [
        *SHARED, *ROPE,
        ("equal", {"no_rope_layers": [1, 1, 1, 0]}),
        ("refused", {"no_rope_layers": [1, 1, 0, 1]}),
        ("refused", {"no_rope_layers": [1, 1, 1]}),
        ("refused", {"no_rope_layer_interval": 3}),
        ("refused", {"attention_bias": True}),
        ("refused", {"mlp_bias": True}),
        ("equal", {"sliding_window": WINDOW}),
        ("noted", {"use_sliding_window": True, "sliding_window": WINDOW}),
        ("refused", {"rope_scaling": LLAMA3}),
        ("equal", {"tie_word_embeddings": False}),
    ],
    "olmo2": [
        *SHARED, *ROPE, *PLAIN_HEADS,
        ("refused", {"attention_bias": True}),
        ("refused", {"sliding_window": WINDOW}),
        ("equal", {"tie_word_embeddings": True}),
    ],
    "olmo3": [
        *SHARED, *PLAIN_HEADS,
        ("equal", {"sliding_window": 8}),
        ("refused", {"sliding_window": None}),
        ("equal", {"layer_types": [SLIDING, FULL, SLIDING, FULL]}),
        ("equal", {"rope_scaling": YARN, "rope_theta": 5e5}),
        ("refused", {"rope_theta": 1e6}),
        ("refused", {"rope_parameters": {FULL: DEFAULT, SLIDING: {"rope_theta": 1e4}}}),
        ("equal", {"rope_parameters": {FULL: DEFAULT, SLIDING: DEFAULT}}),
        ("refused", {"rope_parameters": {SLIDING: YARN}}),
    ],
    "granite": [
        *SHARED, *ROPE, *PLAIN_HEADS, *MULTIPLIERS,
        ("equal", {"attention_bias": True, "mlp_bias": True}),
        ("equal", {"rope_scaling": LLAMA3}),
    ],
    "granitemoe": [
        *SHARED, *PLAIN_HEADS, *MULTIPLIERS,
        ("equal", {"attention_bias": True}),
        ("equal", {"num_experts_per_tok": 1}),
        ("refused", {"num_experts_per_tok": 7}),
    ],
    "granitemoehybrid": [
        *SHARED, *MULTIPLIERS,
        ("equal", {"layer_types": ["linear_attention", "full_attention", "linear_attention"]}),
        ("refused", {"layer_types": ["conv", "attention", "mamba"]}),
        ("refused", {"position_embedding_type": "rope"}),
        ("equal", {"position_embedding_type": "nope"}),
        ("refused", {"mamba_n_groups": 2}),
        ("refused", {"mamba_expand": 3}),
        ("refused", {"mamba_d_head": 8}),
        ("equal", {"mamba_d_head": "auto"}),
        ("refused", {"mamba_proj_bias": True}),
        ("refused", {"time_step_limit": [0.0, 0.1]}),
        ("equal", {"mamba_chunk_size": 16}),
        ("refused", {"num_experts_per_tok": 7}),
    ],
    "seed_oss": [
        *SHARED, *ROPE, *OWN_HEADS,
        ("equal", {"attention_bias": False}),
        ("refused", {"attention_out_bias": True}),
        ("refused", {"mlp_bias": True}),
        ("equal", {"residual_dropout": 0.5}),
    ],
    "exaone4": [
        *SHARED, *ROPE, *PLAIN_HEADS,
        ("equal", {"rope_scaling": LLAMA3}),
        ("refused", {"sliding_window": WINDOW}),
        ("refused", {"layer_types": [SLIDING, FULL, FULL]}),
    ],
    "ernie4_5": [*SHARED, *ROPE, *OWN_HEADS, ("refused", {"use_bias": True})],
    "ernie4_5_moe": [
        *SHARED, *ROPE,
        ("equal", {"moe_k": 1}),
        ("refused", {"moe_k": 7}),
        ("equal", {"moe_layer_end_index": 2}),
        ("refused", {"moe_layer_end_index": 1}),
        ("refused", {"moe_norm_min": 0.1}),
        ("refused", {"moe_num_shared_experts": 2}),
        ("refused", {"use_bias": True}),
        ("refused", {"num_experts": 6}),
    ],
    "hunyuan_v1_dense": [
        *SHARED,
        ("equal", {"rope_parameters": DEFAULT}),
        ("equal", {"rope_parameters": ALPHA | {"alpha": 50}}),
        ("refused", {"rope_parameters": ALPHA | {"alpha": 0}}),
        ("refused", {"max_position_embeddings": 1000}),
        ("refused", {"attention_bias": True}),
        ("refused", {"use_cla": True}),
    ],
    "glm4": [*SHARED, *HALF, *OWN_HEADS, ("equal", {"attention_bias": False})],
    "glm4_moe": [
        *SHARED, *HALF,
        ("equal", {"norm_topk_prob": False}),
        ("equal", {"routed_scaling_factor": 3.0}),
        ("equal", {"n_group": 2, "topk_group": 1}),
        ("refused", {"scoring_func": "softmax"}),
        ("equal", {"num_experts_per_tok": 3}),
    ],
    "glm4_moe_lite": [
        *SHARED[2:],
        ("noted", {"of_nobody": 3}),
        ("noted", {"rms_norm_eps": 1e-5}),
        ("refused", {"first_k_dense_replace": 2}),
        ("refused", {"mlp_layer_types": ["sparse"] * 3}),
        ("equal", {"mlp_layer_types": ["dense", "sparse", "sparse"]}),
        ("refused", {"scoring_func": "softmax"}),
        ("equal", {"routed_scaling_factor": 3.0}),
    ],
}  # fmt: skip
