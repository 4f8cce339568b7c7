"""What is asked of GPTQModel in its table: settings, shapes, and the architectures it claims."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Case = dict[str, Any]

_MOE = {
    "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64, "decoder_sparse_step": 1,
}  # fmt: skip
_LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
_ROUTED = {
    "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
    "n_shared_experts": 1, "first_k_dense_replace": 1,
}  # fmt: skip
_MLA = {
    **_ROUTED, "n_group": 1, "topk_group": 1, "q_lora_rank": 32, "kv_lora_rank": 32,
    "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": 32, "head_dim": 16,
    "num_key_value_heads": 2,
}  # fmt: skip
_LINEAR = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 32,
    "linear_value_head_dim": 32, "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
_GPT = {"n_inner": 128, "rotary_dim": 16}

# By model_type: the fields of a tiny model that differ from a Llama's.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {}, "mistral": {}, "ministral": {"sliding_window": 64}, "ministral3": {},
    "qwen2": {}, "qwen3": {}, "qwen2_moe": _MOE, "qwen3_moe": _MOE,
    "qwen3_next": {**_MOE, **_LINEAR}, "qwen3_5_text": _LINEAR,
    "qwen3_5_moe_text": {**_MOE, **_LINEAR},
    "gemma": {}, "gemma2": {"sliding_window": 64}, "gemma3_text": {"sliding_window": 64},
    "gemma4_text": {}, "vaultgemma": {}, "phi": {},
    "phi3": {"original_max_position_embeddings": 128}, "phimoe": _LOCAL, "mixtral": _LOCAL,
    "olmo": {}, "olmo2": {}, "olmo3": {}, "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "granite": {}, "granitemoe": _LOCAL,
    "granitemoehybrid": {
        "num_local_experts": 0, "layer_types": ["attention", "attention"],
        "shared_intermediate_size": 128, "mamba_n_heads": 4, "mamba_d_head": 32,
    },
    "cohere": {}, "cohere2": {}, "stablelm": {}, "starcoder2": {}, "falcon": {
        "ffn_hidden_size": 128, "num_kv_heads": 1, "no_head_dim": True,
    },
    "falcon_h1": {
        "mamba_d_ssm": 64, "mamba_n_heads": 2, "mamba_d_head": 32, "mamba_d_state": 16,
        "mamba_n_groups": 1,
    },
    "bamba": {
        "mamba_n_heads": 4, "mamba_d_head": 32, "mamba_d_state": 16, "mamba_n_groups": 1,
        "attn_layer_indices": [1],
    },
    "bloom": {}, "gpt2": _GPT, "gpt_bigcode": _GPT, "gptj": _GPT, "gpt_neox": {},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]]},
    "codegen": {**_GPT, "num_attention_heads": 4},
    "opt": {"ffn_dim": 128, "word_embed_proj_dim": 64},
    "mpt": {"d_model": 64, "n_layers": 2, "n_heads": 2, "max_seq_len": 128},
    "xglm": {"d_model": 64, "ffn_dim": 128, "num_layers": 2, "attention_heads": 2},
    "glm": {}, "glm4": {}, "glm4_moe": _ROUTED, "deepseek_v2": _MLA, "deepseek_v3": _MLA,
    "dots1": _ROUTED, "ernie4_5": {},
    "ernie4_5_moe": {
        "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 64, "moe_num_shared_experts": 1,
    },
    "exaone4": {}, "smollm3": {}, "nemotron": {}, "seed_oss": {}, "apertus": {}, "arcee": {},
    "helium": {}, "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {
        "layer_types": ["conv", "full_attention"], "num_experts": 4, "num_experts_per_tok": 2,
        "moe_intermediate_size": 64, "num_dense_layers": 1,
    },
    "hunyuan_v1_dense": {}, "hunyuan_v1_moe": {"num_experts": 4, "moe_topk": 2},
    "persimmon": {}, "minimax_m2": {**_LOCAL, "rotary_dim": 16}, "gpt_oss": _LOCAL,
    "afmoe": {
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
        "num_dense_layers": 1,
    },
    "nanochat": {}, "doge": {}, "diffllama": {"num_key_value_heads": 2},
}  # fmt: skip

_LLAMA: Case = {"type": "llama"}
_WIDE = {
    "hidden_size": 1024, "intermediate_size": 1024, "num_hidden_layers": 1, "head_dim": 512,
}  # fmt: skip
_SHAPES: dict[str, dict[str, Any]] = {
    **{f"ffn{size}": {"intermediate_size": size} for size in (36, 40, 48, 172)},
    "hidden40": {"hidden_size": 40, "head_dim": 20},
    "hidden36": {"hidden_size": 36, "head_dim": 18},
    "kv28": {"head_dim": 28, "num_attention_heads": 8, "num_key_value_heads": 1},
}


def cases() -> Iterator[Case]:
    """The whole table."""
    yield from _settings()
    yield from _shapes()
    yield from _outputs_and_rules()
    for kind, fields in ARCHITECTURES.items():
        for method in ("gptq", "awq"):
            yield _case(method, kind, {"type": kind, **fields}, bits=8, group_size=32)


def _settings() -> Iterator[Case]:
    for bits in (2, 3, 4, 8):
        for size in (-1, 16, 32, 64):
            for sym in (True, False):
                for desc_act in (True, False):
                    name = f"{bits}-g{size}-sym{sym:d}-act{desc_act:d}"
                    how = {"bits": bits, "group_size": size, "sym": sym, "desc_act": desc_act}
                    yield _case("gptq", name, _LLAMA, **how)
        for size in (256, 512, 1024):
            yield _case("gptq", f"{bits}-g{size}", {**_LLAMA, **_WIDE}, bits=bits, group_size=size)
    for bits in (4, 8):
        for size in (-1, 16, 32, 64):
            for zeros in (True, False):
                how = {"bits": bits, "group_size": size, "zero_point": zeros}
                yield _case("awq", f"{bits}-g{size}-zeros{zeros:d}", _LLAMA, **how)


def _shapes() -> Iterator[Case]:
    for name, fields in _SHAPES.items():
        for bits in (2, 3, 4, 8):
            yield _case("gptq", f"{bits}-{name}", {**_LLAMA, **fields}, bits=bits, group_size=-1)
        for bits in (4, 8):
            yield _case("awq", f"{bits}-{name}", {**_LLAMA, **fields}, bits=bits, group_size=-1)


def _outputs_and_rules() -> Iterator[Case]:
    tied, odd = {**_LLAMA, "tie_word_embeddings": True}, {**_LLAMA, "vocab_size": 1005}
    for bits, size in ((2, 64), (3, 32), (4, 64), (4, -1), (8, 32)):
        how = {"bits": bits, "group_size": size, "lm_head": True}
        yield _case("gptq", f"{bits}-g{size}-head", _LLAMA, **how)
        yield _case("gptq", f"{bits}-g{size}-head-1005", odd, **how)
    yield _case("gptq", "head-tied", tied, group_size=32, lm_head=True)
    yield _case("gptq", "head-neox", {"type": "gpt_neox"}, group_size=32, lm_head=True)
    rules = {"lm_head": {"bits": 8, "group_size": 32}, "k_proj": "skip"}
    yield _case("gptq", "head-rule", _LLAMA, group_size=64, lm_head=True, modules=rules)
    for method in ("gptq", "awq"):
        yield _case(method, "tied", tied, group_size=32)
        for name, rule in {"all": "k_proj", "one": "layers.0.*k_proj"}.items():
            yield _case(method, f"skip-{name}", _LLAMA, group_size=32, modules={rule: "skip"})
    whole = {"down_proj": {"group_size": -1}}
    yield _case("gptq", "rule-channel", _LLAMA, group_size=32, modules=whole)
    yield _case("gptq", "static", _LLAMA, group_size=32, static_groups=True, desc_act=True)
    yield _case("gptq", "together", _LLAMA, group_size=32, true_sequential=False)
    without = {"type": "qwen2", "pad_token_id": None, "pad_token_beyond": True}
    yield _case("gptq", "no-pad-token", without, group_size=32)


def _case(method: str, name: str, model: Case, **params: Any) -> Case:
    return {"name": f"{method}-{name}", "method": method, "model": model, "params": params}
