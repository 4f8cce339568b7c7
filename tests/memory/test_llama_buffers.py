"""Caches, states and buffers against what llama.cpp says in its log, of models in full size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from qpipe.memory import RunSetting, Weights, memory
from qpipe.sizes import shapes
from tests.memory.llama_log import Weightless, header

MIB = 1 << 20

# Qwen1.5-MoE-A2.7B's fields.
QWEN2_MOE: Mapping[str, Any] = {
    "architectures": ["Qwen2MoeForCausalLM"],
    "model_type": "qwen2_moe",
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "moe_intermediate_size": 1408,
    "shared_expert_intermediate_size": 5632,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "num_experts": 60,
    "num_experts_per_tok": 4,
    "vocab_size": 151936,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
QWEN3_NEXT: Mapping[str, Any] = {
    "architectures": ["Qwen3NextForCausalLM"],
    "model_type": "qwen3_next",
    "hidden_size": 2048,
    "intermediate_size": 5120,
    "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_conv_kernel_dim": 4,
    "num_experts": 64,
    "num_experts_per_tok": 10,
    "vocab_size": 151936,
    "max_position_embeddings": 262144,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
WHOLE = [
    RunSetting(context=context, kv_k=kv, kv_v=kv)
    for context in (2048, 16384, 131072)
    for kv in ("f16", "q8_0", "q4_0")
]
FURTHER = [
    RunSetting(context=16384, flash_attention=False),
    RunSetting(context=16384, flash_attention=False, kv_k="q8_0"),
    RunSetting(context=4096, sequences=4, ubatch=256),
    RunSetting(context=4096, sequences=4, unified=True),
    RunSetting(context=8192, swa_full=True, outputs=512, kv_k="f32", kv_v="bf16"),
    RunSetting(context=1000, batch=64, kv_k="q5_1", kv_v="iq4_nl"),
]


def model(name: str) -> Mapping[str, Any]:
    known = {"Qwen/Qwen1.5-MoE-A2.7B": QWEN2_MOE, "Qwen3-Next, in small": QWEN3_NEXT}
    config = known.get(name) or shapes(name)
    assert config is not None
    return config


def apart(name: str, settings: Iterable[RunSetting], folder: Path) -> list[str]:
    """What is more than 1 % and 1 MiB off, in words."""
    config, faults = model(name), []
    weightless = Weightless(header(config, folder / "model.gguf"))
    for setting in settings:
        logged = weightless.sizes(setting)
        used = memory(config, setting, weights=Weights(0))
        for part, said, mine in (
            ("KV cache", logged.kv, used.kv_cache),
            ("states", logged.states, used.states),
            ("compute buffer", logged.compute, used.compute),
        ):
            if abs(mine / MIB - said) > 1 + 0.01 * said:
                faults.append(f"{name} {setting}: {part} is {said} MiB, not {mine / MIB:.2f}")
        assert logged.kv + logged.states > 0 and logged.compute > 0
    weightless.close()
    return faults


@pytest.mark.parametrize(
    "name",
    [
        "Qwen/Qwen1.5-MoE-A2.7B",
        "Qwen/Qwen3-4B",
        "google/gemma-3-1b-pt",
        "ibm-granite/granite-4.0-h-micro",
        "meta-llama/Llama-3.2-1B",
    ],
)
def test_three_contexts_and_three_types(name: str, tmp_path: Path) -> None:
    assert not apart(name, WHOLE, tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "LiquidAI/LFM2.5-1.2B-Instruct",
        "Qwen3-Next, in small",
        "deepseek-ai/DeepSeek-V2-Lite",
        "google/gemma-3-1b-pt",
        "meta-llama/Llama-3.2-1B",
        "microsoft/phi-4",
        "openai/gpt-oss-20b",
    ],
)
def test_other_settings(name: str, tmp_path: Path) -> None:
    latent = "DeepSeek" in name  # keys and values in one, of one type
    settings = [s for s in FURTHER if not latent or (s.kv_k == s.kv_v)]
    assert not apart(name, settings, tmp_path)
