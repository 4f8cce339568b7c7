"""Fields of config.json that small models of several families share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COMMON: Mapping[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1024,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
ENDOFTEXT, BEGIN = "<|endoftext|>", "<|begin_of_text|>"
GLM_TOKENS = ("[gMASK]", "<|user|>", "<|observation|>")
EXPERTS: Mapping[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2}
MISSING = object()
WINDOW = 8  # shorter than the text of which logits are compared

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
    "rope_theta": 5e5,
}
YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "rope_theta": 1e5,
    "original_max_position_embeddings": 128,
}
MISTRAL3 = YARN | {
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1 + i / 16 for i in range(24)],
    "long_factor": [2 + i / 8 for i in range(24)],
    "partial_rotary_factor": 0.75,
    "original_max_position_embeddings": 512,
}
DELTA_NET = {
    "num_hidden_layers": 4,
    "head_dim": 64,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "linear_num_key_heads": 4,
    "linear_num_value_heads": 8,
    "linear_conv_kernel_dim": 4,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.25},
}
QWEN35 = DELTA_NET | {
    "rope_parameters": DELTA_NET["rope_parameters"]  # type: ignore[operator]
    | {"mrope_section": [3, 3, 2], "mrope_interleaved": True}
}
SHARED = {"moe_intermediate_size": 256, "shared_expert_intermediate_size": 256, **EXPERTS}
QWEN35_VISION = {
    "vision_config": {
        "depth": 1, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2,
        "out_hidden_size": 256, "num_position_embeddings": 16, "patch_size": 4,
    }
}  # fmt: skip
GEMMA4 = {
    "num_hidden_layers": 6,
    "head_dim": 64,
    "global_head_dim": 128,
    "num_global_key_value_heads": 2,
    "sliding_window": WINDOW,
    "hidden_size_per_layer_input": 0,
    "final_logit_softcapping": 30.0,
}
PIXTRAL = {
    "vision_config": {
        "model_type": "pixtral", "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 32, "patch_size": 4,
        "image_size": 16,
    }
}  # fmt: skip
MLA = {
    "num_hidden_layers": 3,
    "num_key_value_heads": 4,
    "kv_lora_rank": 256,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 32,
    "v_head_dim": 32,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 256,
    "first_k_dense_replace": 1,
}
GRANITE = {
    "embedding_multiplier": 12.0,
    "logits_scaling": 8.0,
    "residual_multiplier": 0.22,
    "attention_multiplier": 0.015625,
    "tie_word_embeddings": True,
}
GRANITE_MOE = GRANITE | {"num_local_experts": 4, "num_experts_per_tok": 2}
MAMBA = ["mamba", "attention", "mamba"]
GRANITE_HYBRID = GRANITE | {
    "num_hidden_layers": 3,
    "layer_types": MAMBA,
    "mamba_n_heads": 8,
    "mamba_d_head": 64,
    "mamba_d_state": 32,
    "mamba_n_groups": 1,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "shared_intermediate_size": 256,
}
GEMMA = {"head_dim": 64, "query_pre_attn_scalar": 64, "tie_word_embeddings": True}
KEYS_AND_VALUES = {"k_proj": (128, 256), "v_proj": (128, 256), "k_norm": (64,)}
QWEN_MOE = {"moe_intermediate_size": 256, **EXPERTS}

# Layer 3 of a GLM-4.5, which predicts further tokens; transformers saves none.
_MATRIX, _VECTOR = (256, 256), (256,)
GLM_NEXT = {
    f"model.layers.3.{name}": shape
    for name, shape in {
        "embed_tokens.weight": (1024, 256),
        "shared_head.head.weight": (1024, 256),
        "shared_head.norm.weight": _VECTOR,
        "eh_proj.weight": (256, 512),
        "enorm.weight": _VECTOR,
        "hnorm.weight": _VECTOR,
        "input_layernorm.weight": _VECTOR,
        "post_attention_layernorm.weight": _VECTOR,
        "self_attn.q_proj.weight": _MATRIX,
        "self_attn.k_proj.weight": (128, 256),
        "self_attn.v_proj.weight": (128, 256),
        "self_attn.o_proj.weight": _MATRIX,
        "self_attn.q_proj.bias": _VECTOR,
        "self_attn.k_proj.bias": (128,),
        "self_attn.v_proj.bias": (128,),
        "self_attn.q_norm.weight": (64,),
        "self_attn.k_norm.weight": (64,),
        "mlp.gate.weight": (12, 256),
        "mlp.gate.e_score_correction_bias": (12,),
        **{f"mlp.shared_experts.{kind}_proj.weight": _MATRIX for kind in ("down", "gate", "up")},
        **{
            f"mlp.experts.{i}.{kind}_proj.weight": _MATRIX
            for i in range(12)
            for kind in ("down", "gate", "up")
        },
    }.items()
}
