"""Small models of open families that are much like Llama, for the bench of configs (logits.py)."""

from __future__ import annotations

from typing import Any

WINDOW = 24  # as in logits.py

_GRANITE = {
    "embedding_multiplier": 12.0, "logits_scaling": 8.0, "residual_multiplier": 0.22,
    "attention_multiplier": 0.0625,
}  # fmt: skip

# By model_type: the class, and what it has beside the common fields.
OPEN_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "smollm3": ("SmolLM3ForCausalLM", {"num_hidden_layers": 4, "pad_token_id": 0}),
    "olmo2": ("Olmo2ForCausalLM", {}),
    "olmo3": ("Olmo3ForCausalLM", {"num_hidden_layers": 4, "sliding_window": WINDOW}),
    "granite": ("GraniteForCausalLM", _GRANITE),
    "granitemoe": (
        "GraniteMoeForCausalLM", _GRANITE | {"num_local_experts": 6, "num_experts_per_tok": 2}
    ),
    "granitemoehybrid": (
        "GraniteMoeHybridForCausalLM",
        _GRANITE
        | {
            "num_local_experts": 6, "num_experts_per_tok": 2, "shared_intermediate_size": 48,
            "layer_types": ["mamba", "attention", "mamba"], "mamba_n_heads": 4,
            "mamba_d_state": 16,
        },
    ),
    "seed_oss": ("SeedOssForCausalLM", {"head_dim": 32}),
    "exaone4": (
        "Exaone4ForCausalLM", {"sliding_window": None, "layer_types": ["full_attention"] * 3}
    ),
    "ernie4_5": ("Ernie4_5ForCausalLM", {"head_dim": 32}),
    "ernie4_5_moe": (
        "Ernie4_5_MoeForCausalLM",
        {
            "moe_num_experts": 6, "moe_k": 2, "moe_intermediate_size": 48,
            "moe_num_shared_experts": 1,
        },
    ),
    "hunyuan_v1_dense": (
        "HunYuanDenseV1ForCausalLM",
        {
            "head_dim": 16, "max_position_embeddings": 32768,
            "rope_parameters": {
                "rope_type": "dynamic", "alpha": 1000.0, "factor": 1.0, "rope_theta": 1e4,
            },
        },
    ),
    "glm4": ("Glm4ForCausalLM", {"head_dim": 32, "pad_token_id": 0}),
    "glm4_moe": (
        "Glm4MoeForCausalLM",
        {
            "n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
            "head_dim": 32, "use_qk_norm": True,
        },
    ),
    "glm4_moe_lite": (
        "Glm4MoeLiteForCausalLM",
        {
            "num_key_value_heads": 4, "kv_lora_rank": 32, "q_lora_rank": 24,
            "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 16,
            "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
            "first_k_dense_replace": 1, "rms_norm_eps": 1e-6,
        },
    ),
}  # fmt: skip
