"""Bytes of caches by hand and by what llama.cpp's own log has said of published models."""

from __future__ import annotations

import pytest

from qpipe.errors import RecipeError
from qpipe.memory import RunSetting, Weights, memory
from qpipe.sizes import shapes

MIB = 1 << 20
NONE = Weights(0)


@pytest.mark.parametrize(
    ("name", "context", "kv", "mib"),
    [
        # 32 layers x 8 heads x 128 numbers, keys and values, of 2 bytes and of 34 for 32.
        ("meta-llama/Llama-3.1-8B", 32768, "f16", 4096),
        ("meta-llama/Llama-3.1-8B", 32768, "q8_0", 2176),
        ("meta-llama/Llama-3.1-8B", 131072, "q4_0", 4608),
        # 27 layers x (512 + 64) numbers, no values.
        ("deepseek-ai/DeepSeek-V2-Lite", 32768, "f16", 972),
        # 6 layers with a window of 512 + 512 tokens for each that attends to all.
        ("google/gemma-3-1b-pt", 32768, "f16", 4 * 32 + 22),
        ("openai/gpt-oss-20b", 131072, "f16", 12 * 256 + 18),
        # A window that is not used is none.
        ("Qwen/Qwen2.5-7B", 32768, "f16", 1792),
    ],
)
def test_cache_of_known_models(name: str, context: int, kv: str, mib: int) -> None:
    config = shapes(name)
    assert config is not None
    used = memory(config, RunSetting(context=context, kv_k=kv, kv_v=kv), weights=NONE)
    assert used.kv_cache == mib * MIB


def test_states_hang_on_sequences_and_not_on_context() -> None:
    config = shapes("ibm-granite/granite-4.0-h-micro")
    assert config is not None
    short, long, four = (
        memory(config, RunSetting(context=context, sequences=sequences), weights=NONE)
        for context, sequences in ((256, 1), (131072, 1), (256, 4))
    )
    assert short.states == long.states > 0
    assert four.states == 4 * short.states
    assert long.kv_cache == 512 * short.kv_cache
    kinds = short.by_kind()
    assert {kind: count for kind, (count, _, _) in kinds.items()} == {
        "state space": 36,
        "full attention": 4,
    }


def test_a_quantized_cache_of_values_needs_flash_attention() -> None:
    with pytest.raises(RecipeError, match="kv_v"):
        RunSetting(kv_v="q8_0", flash_attention=False)


def test_unknown_types_and_runtimes_are_named() -> None:
    with pytest.raises(RecipeError, match="q8_0"):
        RunSetting(kv_k="q8")
    with pytest.raises(RecipeError, match="vllm"):
        RunSetting(runtime="vlm")
