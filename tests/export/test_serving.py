"""The tokens that fit beside a model's weights; sizes by hand from published configs."""

from __future__ import annotations

from typing import Any

import pytest

from qpipe.errors import CheckpointError
from qpipe.export.serving import KvCache, kv_cache, served_length

# config.json of the models, as far as the cache hangs on it.
LLAMA_3_8B = {
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "hidden_size": 4096, "max_position_embeddings": 131072,
}  # fmt: skip
DEEPSEEK_V2_LITE = {
    "num_hidden_layers": 27, "num_attention_heads": 16, "num_key_value_heads": 16,
    "hidden_size": 2048, "kv_lora_rank": 512, "qk_rope_head_dim": 64,
    "max_position_embeddings": 163840,
}  # fmt: skip
GEMMA_3_12B = {
    "text_config": {
        "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 8,
        "hidden_size": 3840, "head_dim": 256, "sliding_window": 1024, "model_type": "gemma3_text",
        "max_position_embeddings": 131072,
    }
}  # fmt: skip
QWEN_2_7B = {
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    "hidden_size": 3584, "sliding_window": 131072, "use_sliding_window": False,
    "max_position_embeddings": 32768,
}  # fmt: skip
LINEAR = {
    "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64,
    "hidden_size": 512, "layer_types": ["linear_attention"] * 3 + ["full_attention"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "cache"),
    [
        (LLAMA_3_8B, KvCache(131072, 0, 0)),  # 128 KiB a token, as is known of Llama 3 8B
        (DEEPSEEK_V2_LITE, KvCache(27 * 576 * 2, 0, 0)),
        (GEMMA_3_12B, KvCache(8 * 8192, 40 * 8192, 1024)),  # 5 of 6 layers see 1024 tokens
        (QWEN_2_7B, KvCache(57344, 0, 0)),
        (LINEAR, KvCache(512, 0, 0)),
        ({"n_layer": 12, "n_head": 12, "n_embd": 768}, KvCache(36864, 0, 0)),  # GPT-2
    ],
)
def test_bytes_of_a_token(config: dict[str, Any], cache: KvCache) -> None:
    assert kv_cache(config, value_bytes=2) == cache


@pytest.mark.parametrize("cache", [KvCache(3, 0, 0), KvCache(3, 7, 50), KvCache(0, 7, 50)])
def test_what_is_most_fits_and_one_more_does_not(cache: KvCache) -> None:
    for room in (0, 1, 9, 10, 499, 500, 501, 10_000):
        most = cache.most(room)
        if most is None:
            assert cache.of(1 << 40) <= room
        else:
            assert cache.of(most) <= room < cache.of(most + 1)


def test_a_length_for_a_card() -> None:
    def length(memory: float, weights: float, config: dict[str, Any] = LLAMA_3_8B) -> Any:
        return served_length(
            config, weights=int(weights * 1e9), memory=int(memory * 1e9), utilization=0.9
        )

    fits = length(24, 16.1)
    assert (fits.cards, fits.context) == (1, 131072)
    assert fits.tokens == (int(24e9 * 0.9) - (3 << 29) - int(16.1e9)) // 131072 == 29673
    assert length(80, 16.1).tokens == 131072  # no more than it reads
    assert length(24, 40).cards == 4  # two have 43.2 GB less 3.2
    assert length(24, 1000).tokens == 0
    # Keys and values of 4 heads are on 8 cards twice, latent vectors on each.
    assert length(24, 158, QWEN_2_7B | {"num_attention_heads": 32}).tokens == (
        8 * (int(24e9 * 0.9) - (3 << 29)) - int(158e9)
    ) // (2 * 28 * 2 * 4 * 112 * 2)
    assert length(24, 16.1, QWEN_2_7B).tokens == 32768
    assert length(24, 26, QWEN_2_7B | {"num_attention_heads": 7}).tokens == 0  # 7 divide by none


def test_a_config_that_says_too_little() -> None:
    with pytest.raises(CheckpointError, match="num_attention_heads is missing"):
        kv_cache({"num_hidden_layers": 2}, value_bytes=2)
