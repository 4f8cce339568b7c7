"""Caches of vLLM, transformers and ExLlamaV2, by hand and by transformers' own cache."""

from __future__ import annotations

from typing import Any

import pytest

from qpipe.memory import RunSetting, Weights, memory
from qpipe.sizes import shapes

MIB = 1 << 20
MISTRAL: dict[str, Any] = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
    "max_position_embeddings": 32768,
    "sliding_window": 4096,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}


def used(config: Any, runtime: str, **setting: Any) -> Any:
    kv = {"llama.cpp": "f16", "vllm": "auto", "transformers": "bf16", "exllama": "f16"}[runtime]
    return memory(config, RunSetting(runtime, kv_k=kv, kv_v=kv, **setting), weights=Weights(0))


@pytest.mark.parametrize(
    ("runtime", "tokens"),
    [
        ("exllama", 32768),
        ("llama.cpp", 32768),  # computes no window here
        ("transformers", 4096),
        ("vllm", 4096 + 2048 + 16),
    ],
)
def test_windows_that_a_runtime_computes(runtime: str, tokens: int) -> None:
    assert used(MISTRAL, runtime, context=32768).kv_cache == 32 * 2 * 1024 * 2 * tokens


@pytest.mark.parametrize(("runtime", "numbers"), [("transformers", 16 * 320), ("vllm", 576)])
def test_latent_attention_kept_whole_or_unfolded(runtime: str, numbers: int) -> None:
    config = shapes("deepseek-ai/DeepSeek-V2-Lite")
    assert used(config, runtime, context=8192).kv_cache == 27 * numbers * 2 * 8192


def test_vllm_reserves_its_share_of_a_card() -> None:
    card = used(MISTRAL, "vllm", gpu_memory=24 * 1024 * MIB, gpu_share=0.9)
    assert card.reserved == int(0.9 * 24 * 1024 * MIB)
    assert card.devices["cpu"].total == 0
    assert any("vllm" in note for note in card.notes)


def test_layers_on_a_gpu() -> None:
    weights = Weights(34 * MIB, layers=(MIB,) * 32, embeddings=MIB, head=MIB)
    setting = RunSetting(context=4096, layers_offloaded=9)
    partly = memory(MISTRAL, setting, weights=weights)
    assert partly.devices["gpu"].weights == 9 * MIB  # eight layers and the output
    assert partly.devices["cpu"].weights == 25 * MIB
    assert [layer.device for layer in partly.layers()].count("gpu") == 8
    assert partly.devices["gpu"].kv_cache * 4 == partly.kv_cache
    whole = memory(MISTRAL, RunSetting(context=4096, layers_offloaded=-1), weights=weights)
    assert whole.devices["cpu"].weights == MIB  # the table of tokens
    assert 0 < whole.devices["cpu"].compute < whole.devices["gpu"].compute
    assert whole.weights == partly.weights == 34 * MIB


def test_experts_count_for_memory_and_not_for_speed() -> None:
    tensors = {
        "token_embd.weight": 100,
        "output.weight": 100,
        "blk.0.attn_q.weight": 10,
        "blk.0.ffn_up_exps.weight": 800,
        "blk.1.attn_q.weight": 10,
        "blk.1.nextn.eh_proj.weight": 50,
    }
    weights = Weights.of_tensors(tensors, experts=8, used=2, extra=1)
    assert weights.total == 1010
    assert weights.active == 100 + 10 + 200
    assert weights.layers == (810,)
