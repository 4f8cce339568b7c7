"""Models of classes that qpipe does not convert, by config.json's usual fields."""

from __future__ import annotations

from typing import Any

import pytest

from qpipe.errors import CheckpointError
from qpipe.memory import RunSetting, Weights, geometry, memory

BASE: dict[str, Any] = {
    "architectures": ["NoSuchForCausalLM"],
    "hidden_size": 2048,
    "num_hidden_layers": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
}
HYBRID: dict[str, tuple[dict[str, Any], list[str], int]] = {
    # What is kept of a sequence, by hand: llama_hparams::n_embd_r and n_embd_s.
    "jamba": (
        {"model_type": "jamba", "attn_layer_period": 4, "attn_layer_offset": 2},
        ["state space"] * 2 + ["full attention", "state space"],
        3 * (3 * 4096 + 16 * 4096),
    ),
    "kimi_linear": (
        {
            "model_type": "kimi_linear",
            "kv_lora_rank": 512,
            "qk_rope_head_dim": 64,
            "qk_nope_head_dim": 128,
            "v_head_dim": 128,
            "linear_attn_config": {
                "full_attn_layers": [4],
                "kda_layers": [1, 2, 3],
                "num_heads": 16,
                "head_dim": 128,
                "short_conv_kernel_size": 4,
            },
        },
        ["linear attention"] * 3 + ["latent attention"],
        3 * (3 * 3 * 2048 + 16 * 128 * 128),
    ),
    "mamba2": (
        {"model_type": "mamba2", "state_size": 128, "n_groups": 1, "head_dim": 64},
        ["state space"] * 4,
        4 * (3 * (4096 + 2 * 128) + 4096 * 128),
    ),
    "nemotron_h": (
        {
            "model_type": "nemotron_h",
            "hybrid_override_pattern": "M-*M",
            "ssm_state_size": 128,
            "mamba_num_heads": 64,
            "mamba_head_dim": 64,
            "n_groups": 8,
        },
        ["state space", "none", "full attention", "state space"],
        2 * (3 * (4096 + 2 * 8 * 128) + 4096 * 128),
    ),
    "falcon_h1": (
        {"model_type": "falcon_h1", "mamba_d_ssm": 1024, "mamba_d_state": 256},
        ["attention and state space"] * 4,
        4 * (3 * (1024 + 2 * 256) + 1024 * 256),
    ),
    "rwkv7": (
        {"model_type": "rwkv7", "head_size": 64},
        ["linear attention"] * 4,
        4 * (2 * 2048 + 2048 * 64),
    ),
}


@pytest.mark.parametrize("name", sorted(HYBRID))
def test_states_of_hybrid_models(name: str) -> None:
    fields, kinds, numbers = HYBRID[name]
    model = BASE | fields
    assert [layer.kind for layer in geometry(model).layers] == kinds
    used = memory(model, RunSetting(context=4096, sequences=2), weights=Weights(0))
    assert used.states == 2 * 4 * numbers
    assert any("usual fields" in note for note in used.notes)
    assert used.compute > 0


def test_a_window_that_llama_cpp_does_not_compute() -> None:
    config = BASE | {"architectures": ["Starcoder2ForCausalLM"], "model_type": "starcoder2"}
    config |= {"sliding_window": 1024, "intermediate_size": 8192}
    here = memory(config, RunSetting(context=8192), weights=Weights(0))
    there = memory(config, RunSetting("transformers", context=8192), weights=Weights(0))
    assert here.kv_cache == 8 * there.kv_cache


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"layer_types": ["recurrent", "full_attention"] * 2}, "names no sizes"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"num_hidden_layers": None}, "num_hidden_layers"),
        ({"is_encoder_decoder": True}, "encoder"),
        ({"vocab_size": "many"}, "vocab_size"),
    ],
)
def test_what_is_missing_is_named(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        geometry(BASE | fields)
