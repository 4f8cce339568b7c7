"""Edits of config.json by field, and what must become of a model with each."""

from __future__ import annotations

from typing import Any

from tests.gguf.logits import CONTEXT, REMOVED, WINDOW

Edit = tuple[str, dict[str, Any]]  # refused, noted or equal; the fields

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0}
LINEAR = {"rope_type": "linear", "factor": 4.0}
LONGROPE = {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
ALIGNED = 1.1386294361119891  # what a factor of 4 implies

# Of every architecture.
COMMON: list[Edit] = [
    ("equal", {"rms_norm_eps": 1e-3}),
    ("equal", {"rms_norm_eps": REMOVED}),
    ("equal", {"max_position_embeddings": 1000}),
    (
        "equal",
        {
            "torch_dtype": "bfloat16",
            "use_cache": False,
            "attention_dropout": 0.1,
            "initializer_range": 0.3,
            "pad_token_id": 5,
            "eos_token_id": [2, 7],
            "pretraining_tp": 4,
            "auto_map": {"AutoConfig": "a.B"},
            "output_router_logits": True,
            "router_aux_loss_coef": 0.9,
            "num_labels": 3,
        },
    ),
    ("noted", {"of_nobody": 3}),
    ("noted", {"logits_scaling": 8.0, "embedding_multiplier": 12.0}),
    ("refused", {"per_layer_config": {"1": {"intermediate_size": 64}}}),
    ("refused", {"is_causal": False}),
    ("refused", {"layer_types": ["linear_attention"] * 3}),
    ("refused", {"model_type": "opt"}),
    ("refused", {"rope_parameters": {"rope_type": "proportional", "rope_theta": 1e4}}),
    ("refused", {"rope_scaling": {"type": "ntk", "factor": 2.0}}),
    ("refused", {"rope_scaling": LINEAR | {"factor": 0}}),
    ("refused", {"rope_scaling": ["yarn"]}),
    ("refused", {"partial_rotary_factor": 0.5}),
    ("refused", {"rope_scaling": {"rope_type": "default", "partial_rotary_factor": 0.5}}),
    ("noted", {"rope_scaling": DYNAMIC}),
    ("noted", {"rope_scaling": DYNAMIC, "max_position_embeddings": 40}),
]

SILU: list[Edit] = [
    ("equal", {"hidden_act": "silu"}),
    ("equal", {"hidden_act": REMOVED}),
    ("refused", {"hidden_act": "gelu"}),
    ("refused", {"hidden_act": "relu2"}),
    ("refused", {"hidden_act": None}),
]

FLAT_ROPE: list[Edit] = [
    ("equal", {"rope_theta": 5e5}),
    ("equal", {"rope_theta": 50000}),
    ("equal", {"rope_parameters": {"rope_type": "default", "rope_theta": 3e4}}),
    ("equal", {"rope_parameters": {"rope_theta": 3e4}, "rope_theta": 1e6}),
    ("equal", {"rope_scaling": LINEAR}),
    ("equal", {"rope_scaling": {"type": "linear", "factor": 2}, "rope_theta": 2e4}),
    ("equal", {"rope_scaling": YARN}),
    ("equal", {"rope_parameters": YARN | {"rope_theta": 1e6}}),
    ("equal", {"rope_scaling": YARN | {"attention_factor": ALIGNED, "beta_fast": 32}}),
    ("equal", {"rope_scaling": YARN | {"mscale": 1.0}}),
    ("equal", {"rope_scaling": YARN, "original_max_position_embeddings": 64}),
    ("equal", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}),
    ("refused", {"rope_scaling": YARN | {"attention_factor": 1.0}}),
    ("refused", {"rope_scaling": YARN | {"beta_fast": 16, "beta_slow": 2}}),
    ("refused", {"rope_scaling": YARN | {"mscale": 1.0, "mscale_all_dim": 1.0}}),
    ("refused", {"rope_scaling": YARN | {"truncate": False}}),
    ("refused", {"rope_scaling": LONGROPE}),
    ("refused", {"rope_parameters": {"full_attention": {"rope_type": "default"}}}),
    # transformers takes rope_scaling.
    ("noted", {"rope_parameters": {"rope_type": "default"}, "rope_scaling": YARN}),
    (
        "noted",
        {"rope_parameters": {"rope_theta": 1e6}, "rope_scaling": YARN | {"rope_theta": 1e5}},
    ),
    ("equal", {"rope_parameters": YARN, "rope_scaling": YARN}),
    ("refused", {"rope_parameters": {"rope_theta": 2e6}, "rope_scaling": YARN}),
    ("noted", {"rope_scaling": {"rope_type": "default", "factor": 4.0}}),
]

# Of those that share code with another architecture.
SHORT_ROPE = [edit for edit in FLAT_ROPE if edit[0] == "refused"] + [
    edit for edit in FLAT_ROPE if edit[0] != "refused"
][::4]

HEADS: list[Edit] = [
    ("equal", {"head_dim": 16}),
    ("equal", {"head_dim": 48}),
    ("equal", {"num_key_value_heads": 4}),
    ("equal", {"num_key_value_heads": 1}),
]
PLAIN_HEADS: list[Edit] = [
    ("equal", {"head_dim": 16}),
    ("refused", {"head_dim": 32}),
    ("equal", {"num_key_value_heads": 1}),
]
TIED: list[Edit] = [("equal", {"tie_word_embeddings": True})]

WINDOWS: list[Edit] = [
    ("equal", {"sliding_window": None}),
    ("equal", {"sliding_window": CONTEXT}),
    ("noted", {"sliding_window": WINDOW}),
    ("noted", {"sliding_window": WINDOW, "layer_types": ["sliding_attention"] * 3}),
    (
        "refused",
        {"sliding_window": WINDOW, "layer_types": ["sliding_attention"] + ["full_attention"] * 2},
    ),
    ("refused", {"sliding_window": 0}),
    ("refused", {"layer_types": ["full_attention"]}),
    ("equal", {"layer_types": ["full_attention"] * 3}),
]
QWEN_WINDOWS: list[Edit] = [
    ("equal", {"sliding_window": WINDOW}),
    ("equal", {"sliding_window": WINDOW, "max_window_layers": 0}),
    ("noted", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}),
    ("equal", {"use_sliding_window": True, "sliding_window": CONTEXT, "max_window_layers": 1}),
    ("equal", {"layer_types": ["full_attention"] * 3}),
    ("refused", {"layer_types": ["sliding_attention"] * 3, "sliding_window": WINDOW}),
]
QWEN_LAYERS: list[Edit] = [
    (
        "noted",
        {
            "use_sliding_window": True,
            "sliding_window": WINDOW,
            "layer_types": ["full_attention", "sliding_attention", "full_attention"],
        },
    ),
    ("equal", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 3}),
    ("equal", {"use_sliding_window": True, "sliding_window": None}),
]

EXPERTS: list[Edit] = [
    ("equal", {"num_experts_per_tok": 1}),
    ("equal", {"num_experts_per_tok": 6}),
    ("refused", {"num_experts_per_tok": 7}),
]
QWEN_EXPERTS: list[Edit] = [
    *EXPERTS,
    ("refused", {"mlp_only_layers": [1]}),
    ("refused", {"decoder_sparse_step": 2}),
    ("equal", {"mlp_only_layers": [], "decoder_sparse_step": 1}),
    ("equal", {"intermediate_size": 4096}),
]

GEMMA: list[Edit] = [
    ("equal", {"hidden_act": "silu"}),
    ("refused", {"hidden_activation": "gelu"}),
    ("refused", {"hidden_activation": "silu"}),
    ("equal", {"hidden_activation": "gelu_pytorch_tanh"}),
    ("equal", {"hidden_activation": "gelu_new"}),
    ("refused", {"query_pre_attn_scalar": 256}),
    ("refused", {"query_pre_attn_scalar": REMOVED}),
    ("equal", {"sliding_window": 8}),
    ("equal", {"sliding_window": REMOVED}),
    ("refused", {"sliding_window": None}),
    ("refused", {"attention_bias": True}),
    ("refused", {"use_bidirectional_attention": True}),
]

EDITS: dict[str, list[Edit]] = {
    "llama": [
        *COMMON, *SILU, *FLAT_ROPE, *HEADS, *TIED, *WINDOWS,
        ("equal", {"rope_scaling": LLAMA3}),
        ("equal", {"rope_scaling": LLAMA3, "rope_theta": 5e5}),
        ("equal", {"rope_scaling": LLAMA3, "original_max_position_embeddings": 64}),
        ("equal", {"rope_scaling": LLAMA3 | {"high_freq_factor": 1.0}}),
        ("refused", {"rope_scaling": LLAMA3 | {"high_freq_factor": 0.5}}),
        ("equal", {"attention_bias": True}),
        ("equal", {"mlp_bias": True}),
        ("noted", {"num_local_experts": 8, "num_experts_per_tok": 2}),
        ("refused", {"num_key_value_heads": 3}),
    ],
    "mistral": [
        *COMMON, *SILU, *SHORT_ROPE, *HEADS, *TIED, *WINDOWS[:-1],
        ("equal", {"sliding_window": REMOVED}),
        ("noted", {"sliding_window": REMOVED, "max_position_embeddings": 8192}),
        ("noted", {"attention_bias": True, "mlp_bias": True}),
    ],
    "mixtral": [
        *COMMON, *SILU, *SHORT_ROPE, *HEADS, *TIED, *WINDOWS, *EXPERTS,
        ("equal", {"num_local_experts": REMOVED, "num_experts": 6}),
        ("equal", {"num_local_experts": 2, "num_experts": 6}),
        ("equal", {"router_jitter_noise": 0.5}),
    ],
    "qwen2": [
        *COMMON, *SILU, *FLAT_ROPE, *PLAIN_HEADS, *TIED, *QWEN_WINDOWS, *QWEN_LAYERS,
        ("refused", {"rope_scaling": LLAMA3}),
    ],
    "qwen3": [
        *COMMON, *SILU, *SHORT_ROPE, *HEADS, *TIED, *QWEN_WINDOWS, *QWEN_LAYERS,
        ("refused", {"attention_bias": True}),
        ("equal", {"attention_bias": False}),
    ],
    "qwen2_moe": [
        *COMMON, *SILU, *SHORT_ROPE, *PLAIN_HEADS, *TIED, *QWEN_WINDOWS, QWEN_LAYERS[0],
        *QWEN_EXPERTS,
        ("noted", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 3}),
        ("equal", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 0}),
        ("refused", {"norm_topk_prob": True}),
        ("equal", {"norm_topk_prob": False}),
        ("equal", {"qkv_bias": False}),
        ("equal", {"shared_expert_intermediate_size": 80}),
        ("noted", {"num_local_experts": 3}),
    ],
    "qwen3_moe": [
        *COMMON, *SILU, *SHORT_ROPE, *HEADS, *TIED, *QWEN_WINDOWS, *QWEN_EXPERTS,
        ("refused", {"norm_topk_prob": False}),
        ("refused", {"norm_topk_prob": REMOVED}),
        ("refused", {"attention_bias": True}),
        ("equal", {"num_local_experts": 6, "num_experts": 3}),
    ],
    "gemma2": [
        *COMMON, *GEMMA, *HEADS[2:],
        ("equal", {"tie_word_embeddings": REMOVED}),
        ("refused", {"tie_word_embeddings": False}),
        ("refused", {"rope_theta": 1e6}),
        ("refused", {"rope_scaling": LINEAR}),
        ("refused", {"final_logit_softcapping": None}),
        ("refused", {"attn_logit_softcapping": None}),
        ("refused", {"attn_logit_softcapping": 0}),
        ("equal", {"final_logit_softcapping": 5.0, "attn_logit_softcapping": 4.0}),
        ("equal", {"layer_types": ["sliding_attention", "full_attention"] * 2}),
        ("refused", {"layer_types": ["full_attention", "sliding_attention"] * 2}),
        ("refused", {"layer_types": ["full_attention"] * 4}),
    ],
    "gemma3_text": [
        *COMMON, *GEMMA, *HEADS[2:], *TIED,
        ("equal", {"tie_word_embeddings": False}),
        ("equal", {"rope_theta": 5e5, "rope_local_base_freq": 2e4}),
        ("equal", {"rope_scaling": LINEAR}),
        ("equal", {"rope_parameters": {"full_attention": LINEAR | {"rope_theta": 1e5}}}),
        (
            "equal",
            {
                "rope_parameters": {
                    "full_attention": {"rope_type": "default", "rope_theta": 2e5},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 3e4},
                }
            },
        ),
        ("refused", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e5}}),
        ("refused", {"rope_parameters": {"sliding_attention": LINEAR}}),
        ("refused", {"rope_scaling": YARN}),
        ("equal", {"final_logit_softcapping": None}),
        ("equal", {"final_logit_softcapping": 5.0}),
        ("refused", {"attn_logit_softcapping": 50.0}),
        ("equal", {"layer_types": ["full_attention"] * 7}),
        ("equal", {"sliding_window_pattern": 1}),
        ("refused", {"sliding_window_pattern": 2}),
        ("refused", {"layer_types": ["sliding_attention"] * 7}),
        ("equal", {"layer_types": [*["sliding_attention"] * 5, "full_attention",
                                   "sliding_attention"]}),
    ],
    "phi3": [
        *(edit for edit in COMMON[:-2] if "partial_rotary_factor" not in str(edit)),
        *SILU, *PLAIN_HEADS, *TIED, *WINDOWS,
        ("equal", {"rope_theta": 5e5}),
        ("equal", {"original_max_position_embeddings": 32}),
        ("noted", {"rope_scaling": LONGROPE, "original_max_position_embeddings": 32}),
        ("refused", {"rope_scaling": LONGROPE | {"factor": 4.0}}),
        ("refused", {"rope_scaling": LONGROPE | {"short_factor": [1.0]}}),
        ("refused", {"rope_scaling": YARN}),
        ("refused", {"rope_scaling": LINEAR}),
        ("equal", {"partial_rotary_factor": 0.5}),
        ("equal", {"resid_pdrop": 0.5, "embd_pdrop": 0.5}),
    ],
}  # fmt: skip

# By these the shapes of the weights change too.
SHAPING = {
    "head_dim", "num_key_value_heads", "tie_word_embeddings", "attention_bias", "mlp_bias",
    "qkv_bias", "shared_expert_intermediate_size",
}  # fmt: skip
