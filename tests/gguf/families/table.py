"""The families that are compared: one entry each.

A checkpoint is what transformers' own class saves for ``fields``, with weights from a seed. A
family is added by an entry here and ``make families ARGS=NAME``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.gguf.families.sizes import (
    COMMON,
    DELTA_NET,
    GEMMA,
    GEMMA4,
    GLM_NEXT,
    GLM_TOKENS,
    GRANITE,
    GRANITE_HYBRID,
    GRANITE_MOE,
    KEYS_AND_VALUES,
    LLAMA3,
    LONGROPE,
    MAMBA,
    MISSING,
    MISTRAL3,
    MLA,
    PIXTRAL,
    QWEN35,
    QWEN35_VISION,
    QWEN_MOE,
    SHARED,
    WINDOW,
    YARN,
)


@dataclass(frozen=True)
class Family:
    """One kind of checkpoint.

    ``model_class`` and ``model_type`` are transformers' names; ``fields`` go over `COMMON`
    (`MISSING` takes one away), below ``text_config`` where ``beside`` has the config of the other
    towers. ``published`` goes over the config.json that is saved, where published ones have it
    otherwise, ``further`` are the shapes of tensors that published checkpoints have besides, and
    ``fused`` says that their experts are in one tensor, as transformers has them in memory.
    ``tokenizer`` is ``spm``, ``pieces`` (the same in tokenizer.json alone, with no space in front
    of a text), or llama.cpp's name of the pre-tokenizer of a byte-level BPE, whose added tokens
    are ``tokens`` too. ``transformers`` is false of a class that it does not have. ``tolerance``
    bounds the mean difference of logits, in their standard deviations; ``oddity`` says why
    llama.cpp does not load the files or computes otherwise.
    """

    title: str
    model_class: str
    model_type: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Any] | None = None
    published: Mapping[str, Any] = field(default_factory=dict)
    further: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    fused: bool = False
    tokenizer: str = "qwen2"
    tokens: tuple[str, ...] = ()
    tokenizer_class: str = "PreTrainedTokenizerFast"
    transformers: bool = True
    tolerance: float = 2e-5
    oddity: str = ""

    @property
    def config(self) -> dict[str, Any]:
        """The fields of config.json before transformers completes them."""
        merged = {**COMMON, **self.fields}
        text = {name: value for name, value in merged.items() if value is not MISSING}
        return text if self.beside is None else {"text_config": text, **self.beside}


# Of a model called phi3 llama.cpp wants its tokens.
FAMILIES: Mapping[str, Family] = {
    "llama": Family(
        "Llama 3", "LlamaForCausalLM", "llama", {"rope_parameters": LLAMA3}, tokenizer="llama-bpe"
    ),
    "mistral": Family(
        "Mistral 7B", "MistralForCausalLM", "mistral", {"head_dim": 32, "sliding_window": None},
        tokenizer="spm",
    ),
    "mixtral": Family(
        "Mixtral", "MixtralForCausalLM", "mixtral",
        {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
        tokenizer="spm",
    ),
    "qwen2": Family("Qwen2, Qwen2.5", "Qwen2ForCausalLM", "qwen2", {"tie_word_embeddings": True}),
    "qwen3": Family("Qwen3", "Qwen3ForCausalLM", "qwen3", {"head_dim": 96}),
    "qwen2moe": Family(
        "Qwen1.5-MoE, Qwen2-MoE", "Qwen2MoeForCausalLM", "qwen2_moe", SHARED
    ),
    "qwen3moe": Family(
        "Qwen3-MoE", "Qwen3MoeForCausalLM", "qwen3_moe",
        QWEN_MOE | {"head_dim": 64, "norm_topk_prob": True},
    ),
    "gemma2": Family(
        "Gemma 2", "Gemma2ForCausalLM", "gemma2", GEMMA | {"sliding_window": WINDOW},
        tokenizer="spm", tolerance=3e-4,
    ),
    "gemma3": Family(
        "Gemma 3, text", "Gemma3ForCausalLM", "gemma3_text",
        GEMMA | {"num_hidden_layers": 7, "sliding_window": WINDOW},
        tokenizer="spm", tolerance=3e-4,
    ),
    "phi": Family(
        "Phi-3, Phi-4", "Phi3ForCausalLM", "phi3",
        {"original_max_position_embeddings": 512, "sliding_window": None}, tokenizer="spm",
    ),
    "phi-longrope": Family(
        "Phi-3 128k, Phi-4-mini", "Phi3ForCausalLM", "phi3",
        {
            "rope_parameters": LONGROPE, "original_max_position_embeddings": 512,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": True, "sliding_window": None,
        },
        tokenizer="gpt-4o", tokenizer_class="GPT2Tokenizer",
    ),
    "orion": Family("Orion", "OrionForCausalLM", "orion", tokenizer="spm", transformers=False),
    "qwen3next": Family(
        "Qwen3-Next", "Qwen3NextForCausalLM", "qwen3_next", DELTA_NET | SHARED
    ),
    "qwen35": Family(
        "Qwen3.5, Qwen3.6", "Qwen3_5ForConditionalGeneration", "qwen3_5", QWEN35, QWEN35_VISION,
        tokenizer="qwen35",
    ),
    "qwen35-text": Family(
        "Qwen3.5, text alone", "Qwen3_5ForCausalLM", "qwen3_5_text", QWEN35, tokenizer="qwen35"
    ),
    "qwen35moe": Family(
        "Qwen3.5-MoE, Qwen3.6-MoE", "Qwen3_5MoeForConditionalGeneration", "qwen3_5_moe",
        QWEN35 | SHARED | {"intermediate_size": MISSING}, QWEN35_VISION, fused=True,
        tokenizer="qwen35",
    ),
    "qwen35moe-text": Family(
        "Qwen3.5-MoE, text alone", "Qwen3_5MoeForCausalLM", "qwen3_5_moe_text",
        QWEN35 | SHARED | {"intermediate_size": MISSING}, tokenizer="qwen35",
    ),
    "gemma3n": Family(
        "Gemma 3n, text", "Gemma3nForCausalLM", "gemma3n_text",
        {
            # What llama.cpp has in mind of a Gemma 3n.
            "num_hidden_layers": 30, "num_kv_shared_layers": 10, "laurel_rank": 64,
            "hidden_size_per_layer_input": 256, "vocab_size_per_layer_input": 1024,
            "activation_sparsity_pattern": [0.95] * 10 + [0.0] * 20,
            "intermediate_size": [512] * 30, "head_dim": 64, "sliding_window": WINDOW,
        },
        further={
            f"model.layers.{i}.self_attn.{name}.weight": shape
            for i in range(20, 30)
            for name, shape in KEYS_AND_VALUES.items()
        },
        tokenizer="spm",
        oddity="The threshold of sparse activations: llama.cpp divides the sum of squares by "
        "n − 1, transformers by n, which is 512 here and 8,192 or 16,384 in published ones; with "
        "the same divisor 4e-03 is left, of GELU in half precision over 30 layers.",
    ),
    "gemma4": Family(
        "Gemma 4, dense", "Gemma4ForCausalLM", "gemma4_text", GEMMA4,
        tokenizer="pieces", tolerance=3e-4,
    ),
    "gemma4-e": Family(
        "Gemma 4 E2B, E4B", "Gemma4ForCausalLM", "gemma4_text",
        GEMMA4 | {
            "hidden_size_per_layer_input": 32, "vocab_size_per_layer_input": 1024,
            "num_kv_shared_layers": 6, "num_hidden_layers": 12, "num_global_key_value_heads": None,
        },
        tokenizer="pieces", tolerance=3e-4,
    ),
    "gemma4-moe": Family(
        "Gemma 4 MoE", "Gemma4ForCausalLM", "gemma4_text",
        GEMMA4 | {
            "enable_moe_block": True, "num_experts": 4, "top_k_experts": 2,
            "moe_intermediate_size": 256, "attention_k_eq_v": True,
        },
        tokenizer="pieces", tolerance=3e-4,
    ),
    "lfm2": Family(
        "LFM2", "Lfm2ForCausalLM", "lfm2",
        {
            "num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "conv"],
            "block_auto_adjust_ff_dim": False, "conv_L_cache": 3,
        },
        tokenizer="lfm2",
    ),
    "lfm2moe": Family(
        "LFM2-MoE", "Lfm2MoeForCausalLM", "lfm2_moe",
        QWEN_MOE | {
            "num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "conv"],
            "num_dense_layers": 1, "conv_L_cache": 3,
        },
        tokenizer="lfm2",
    ),
    "gpt-oss": Family(
        "gpt-oss in BF16", "GptOssForCausalLM", "gpt_oss",
        {
            "num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 64,
            "intermediate_size": 256, "sliding_window": WINDOW, "rope_parameters": YARN
            | {"truncate": False, "beta_fast": 32.0, "beta_slow": 1.0},
        },
        tokenizer="gpt-4o", oddity="llama.cpp rounds the ends of YaRN's ramp, of which published "
        "ones say not to (`truncate: false`); a note in the plan. Without it the logits are "
        "2e-06 apart.",
    ),
    "glm4": Family(
        "GLM-4 dense", "Glm4ForCausalLM", "glm4",
        {
            "head_dim": 64,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5
            },
        },
        tokens=GLM_TOKENS, tokenizer="glm4",
    ),
    "glm4moe": Family(
        "GLM-4.5 to 4.7", "Glm4MoeForCausalLM", "glm4_moe",
        {
            "num_hidden_layers": 3, "head_dim": 64, "n_routed_experts": 12,
            "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 256,
            "first_k_dense_replace": 1, "use_qk_norm": True, "attention_bias": True,
            "routed_scaling_factor": 2.5,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5
            },
        },
        published={"num_nextn_predict_layers": 1}, further=GLM_NEXT,
        tokens=GLM_TOKENS, tokenizer="glm4",
    ),
    "glm4moe-lite": Family(
        "GLM-4.7-Flash", "Glm4MoeLiteForCausalLM", "glm4_moe_lite",
        MLA | {"q_lora_rank": 256, "first_k_dense_replace": MISSING},
        published={"first_k_dense_replace": 1, "scoring_func": "sigmoid"},
        tokens=GLM_TOKENS, tokenizer="glm4",
    ),
    "mistral3": Family(
        "Mistral Small 3, Ministral 3", "Mistral3ForConditionalGeneration", "mistral3",
        {"model_type": "ministral3", "head_dim": 64, "rope_parameters": MISTRAL3}, PIXTRAL,
        tokenizer="tekken",
    ),
    "ministral3": Family(
        "Ministral 3, text alone", "Ministral3ForCausalLM", "ministral3",
        {"head_dim": 64, "rope_parameters": MISTRAL3}, tokenizer="tekken",
    ),
    "smollm3": Family(
        "SmolLM3", "SmolLM3ForCausalLM", "smollm3",
        {"num_hidden_layers": 4, "tie_word_embeddings": True}, tokenizer="llama-bpe",
    ),
    "olmo2": Family(
        "OLMo 2", "Olmo2ForCausalLM", "olmo2",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, tokenizer="dbrx",
    ),
    "olmo3": Family(
        "OLMo 3", "Olmo3ForCausalLM", "olmo3",
        {
            "num_hidden_layers": 4, "sliding_window": WINDOW, "rope_theta": 5e5,
            "rope_scaling": {**YARN, "rope_theta": 5e5},
        },
        tokenizer="dbrx",
    ),
    "granite": Family(
        "Granite 3", "GraniteForCausalLM", "granite", GRANITE, tokenizer="refact"
    ),
    "granitemoe": Family(
        "Granite 3 MoE", "GraniteMoeForCausalLM", "granitemoe", GRANITE_MOE, tokenizer="refact"
    ),
    "granitehybrid": Family(
        "Granite 4 hybrid", "GraniteMoeHybridForCausalLM", "granitemoehybrid",
        GRANITE_HYBRID | {"num_local_experts": 4, "num_experts_per_tok": 2},
        published={"layer_types": MAMBA}, tokenizer="dbrx",
    ),
    "granitehybrid-dense": Family(
        "Granite 4 hybrid, dense", "GraniteMoeHybridForCausalLM", "granitemoehybrid",
        GRANITE_HYBRID
        | {"num_local_experts": 0, "num_experts_per_tok": 0, "intermediate_size": 256},
        published={"layer_types": MAMBA}, tokenizer="dbrx",
    ),
    "granitehybrid-attention": Family(
        "Granite 4, attention alone", "GraniteMoeHybridForCausalLM", "granitemoehybrid",
        GRANITE_HYBRID
        | {
            "num_local_experts": 0, "num_experts_per_tok": 0, "intermediate_size": 256,
            "layer_types": ["attention"] * 3, "position_embedding_type": "rope",
        },
        published={"layer_types": ["attention"] * 3}, tokenizer="dbrx",
    ),
    "deepseek2-lite": Family(
        "DeepSeek V2 Lite", "DeepseekV2ForCausalLM", "deepseek_v2",
        MLA | {"q_lora_rank": None, "num_hidden_layers": 27, "first_k_dense_replace": 25},
        tokenizer="deepseek-coder",
    ),
    "deepseek2": Family(
        "DeepSeek V3", "DeepseekV3ForCausalLM", "deepseek_v3",
        MLA | {"q_lora_rank": 256, "n_group": 2, "topk_group": 1, "routed_scaling_factor": 2.5},
        published={"scoring_func": "sigmoid", "topk_method": "noaux_tc"},
        tokenizer="deepseek-v3",
    ),
    "llama4": Family(
        "Llama 4, text", "Llama4ForCausalLM", "llama4_text",
        {
            "num_hidden_layers": 4, "head_dim": 64, "num_local_experts": 4,
            "num_experts_per_tok": 1, "intermediate_size": 256, "intermediate_size_mlp": 512,
            "interleave_moe_layer_step": 2,
            "rope_parameters": LLAMA3,
        },
        tokenizer="llama4",
    ),
    "exaone4": Family(
        "EXAONE 4 1.2B", "Exaone4ForCausalLM", "exaone4",
        {
            "sliding_window": None, "layer_types": ["full_attention"] * 2,
            "rope_parameters": LLAMA3,
        }, tokenizer="exaone4",
    ),
    "exaone4-hybrid": Family(
        "EXAONE 4 32B", "Exaone4ForCausalLM", "exaone4",
        {  # llama.cpp knows it by the number of layers
            "num_hidden_layers": 64, "sliding_window": WINDOW, "sliding_window_pattern": 4,
            "intermediate_size": 256, "rope_parameters": LLAMA3,
        },
        tokenizer="exaone4",
    ),
    "seed-oss": Family(
        "Seed-OSS", "SeedOssForCausalLM", "seed_oss", {"head_dim": 64}, tokenizer="seed-coder"
    ),
    "ernie4_5": Family(
        "Ernie 4.5", "Ernie4_5ForCausalLM", "ernie4_5",
        {"head_dim": 64, "tie_word_embeddings": True}, tokenizer="spm",
    ),
    "ernie4_5-moe": Family(
        "Ernie 4.5 MoE", "Ernie4_5_MoeForCausalLM", "ernie4_5_moe",
        {
            "num_hidden_layers": 3, "moe_intermediate_size": 256, "moe_k": 2,
            "moe_num_experts": 4, "moe_num_shared_experts": 1, "moe_layer_start_index": 1,
            "tie_word_embeddings": True,
        },
        tokenizer="spm",
    ),
    "hunyuan-dense": Family(
        "Hunyuan dense", "HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense",
        {
            "head_dim": 64, "tie_word_embeddings": True, "max_position_embeddings": 32768,
            "rope_parameters": {
                "rope_type": "dynamic", "rope_theta": 1e4, "alpha": 1000.0, "factor": 1.0
            },
        },
        tokenizer="hunyuan-dense",
    ),
    "minimax-m2": Family(
        "MiniMax-M2", "MiniMaxM2ForCausalLM", "minimax_m2",
        {
            "head_dim": 64, "intermediate_size": 256, "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5
            },
        },
        published={"rotary_dim": 32, "scoring_func": "sigmoid"}, tokenizer="minimax-m2",
    ),
}  # fmt: skip
