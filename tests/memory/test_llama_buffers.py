"""Caches, states and buffers against what llama.cpp says in its log, of models in full size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from qpipe.memory import RunSetting, Weights, memory
from qpipe.sizes import shapes
from tests.gguf.families import golden
from tests.memory import recurrent
from tests.memory.llama_log import Weightless, header, header_of

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
# Gemma 3n E4B's and Gemma 4 E2B's fields.
GEMMA_3N: Mapping[str, Any] = {
    "architectures": ["Gemma3nForCausalLM"],
    "model_type": "gemma3n_text",
    "hidden_size": 2048,
    "num_hidden_layers": 35,
    "intermediate_size": [16384] * 35,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "sliding_window": 512,
    "vocab_size": 262400,
    "hidden_size_per_layer_input": 256,
    "vocab_size_per_layer_input": 262144,
    "num_kv_shared_layers": 15,
    "laurel_rank": 64,
    "activation_sparsity_pattern": [0.95] * 10 + [0.0] * 25,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
}
GEMMA_4_E: Mapping[str, Any] = {
    **golden.read("gemma4-e")["config"],
    "hidden_size": 1536,
    "num_hidden_layers": 35,
    "intermediate_size": 6144,
    "num_attention_heads": 8,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "global_head_dim": 512,
    "sliding_window": 512,
    "vocab_size": 262144,
    "vocab_size_per_layer_input": 262144,
    "hidden_size_per_layer_input": 256,
    "num_kv_shared_layers": 20,
    "layer_types": [*(["sliding_attention"] * 4), "full_attention"] * 7,
    "per_layer_config": None,
    "max_position_embeddings": 131072,
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
    known |= {"Gemma 3n E4B": GEMMA_3N, "Gemma 4 E2B": GEMMA_4_E}
    config = known.get(name) or shapes(name)
    assert config is not None
    return config


def apart(name: str, settings: Iterable[RunSetting], folder: Path) -> list[str]:
    """What is more than 1 % and 1 MiB off, in words."""
    config = model(name)
    return apart_from(config, settings, header(config, folder / "model.gguf"), name)


def apart_from(
    config: Mapping[str, Any] | Path, settings: Iterable[RunSetting], file: Path, name: str
) -> list[str]:
    """The same of a model as it lies in a file."""
    faults = []
    weightless = Weightless(file)
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
        "Gemma 3n E4B",
        "Gemma 4 E2B",
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


SEVERAL = [
    RunSetting(context=2048),
    RunSetting(context=4096, sequences=4, ubatch=256),
    RunSetting(context=1024, sequences=16),
]


@pytest.mark.parametrize("name", sorted(recurrent.MODELS))
def test_models_that_keep_states_alone(name: str, tmp_path: Path) -> None:
    """Read from the header of a GGUF file, as qpipe writes none of them."""
    file = header_of(*recurrent.MODELS[name](), tmp_path / "model.gguf")
    assert not apart_from(file, SEVERAL, file, name)


def test_states_of_several_sequences(tmp_path: Path) -> None:
    """Those of all but the first are gathered, beside what the scan returns."""
    assert not apart("ibm-granite/granite-4.0-h-micro", SEVERAL, tmp_path)
