"""Random edits of config.json in every architecture: no silent difference."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from tests.gguf.logits import CONTEXT, MODELS, REMOVED, Bench

EXAMPLES = 600  # of each architecture, about

_CONTEXTS = [16, 32, 64, CONTEXT, 4096]
_FACTORS = [0.5, 1, 1.0, 2.0, 4, 8.5, 0, -1.0, "4", None]
_THETAS = [1e4, 10000, 5e5, 1e6, 100.0, 1, 0, None]
_MAYBE = st.sampled_from([True, False, None, 1, "true"])
_LAYER_TYPES = ["full_attention", "sliding_attention", "linear_attention"]


def _some(options: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=options)


ROPE = _some(
    {
        "rope_type": st.sampled_from(
            ["default", "linear", "yarn", "llama3", "dynamic", "longrope", "su", "mrope", None, 3]
        ),
        "type": st.sampled_from(["default", "linear", "yarn", "llama3", "dynamic"]),
        "factor": st.sampled_from(_FACTORS),
        "rope_theta": st.sampled_from(_THETAS),
        "original_max_position_embeddings": st.sampled_from([*_CONTEXTS, None, 32.0]),
        "attention_factor": st.sampled_from([1.0, 1.1386294361119891, 0.7, 0, None]),
        "beta_fast": st.sampled_from([32, 32.0, 16, 0, None]),
        "beta_slow": st.sampled_from([1, 1.0, 2, 0, None]),
        "mscale": st.sampled_from([1.0, 0.7, 0]),
        "mscale_all_dim": st.sampled_from([1.0, 0.7, 0]),
        "truncate": st.sampled_from([True, False]),
        "low_freq_factor": st.sampled_from([1.0, 2, 4.0]),
        "high_freq_factor": st.sampled_from([4.0, 2.0, 1]),
        "partial_rotary_factor": st.sampled_from([1.0, 1, 0.5]),
        "extrapolation_factor": st.sampled_from([1.0, 0.5]),
        "of_nobody": st.just(1),
    }
)
LAYERED = st.one_of(
    ROPE, _some({"full_attention": ROPE | st.none(), "sliding_attention": ROPE | st.none()})
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "rope_scaling": ROPE | st.none(),
    "rope_parameters": LAYERED | st.none(),
    "rope_theta": st.sampled_from(_THETAS),
    "rope_local_base_freq": st.sampled_from(_THETAS),
    "original_max_position_embeddings": st.sampled_from([*_CONTEXTS, None]),
    "max_position_embeddings": st.sampled_from(_CONTEXTS),
    "partial_rotary_factor": st.sampled_from([1.0, 1, 0.5, None]),
    "hidden_act": st.sampled_from(["silu", "swish", "gelu", "relu", "gelu_pytorch_tanh", None]),
    "hidden_activation": st.sampled_from(
        ["gelu_pytorch_tanh", "gelu_new", "gelu_fast", "gelu", "gelu_python", "silu", None]
    ),
    "rms_norm_eps": st.sampled_from([1e-6, 1e-5, 1e-2, 0.5, 1, 0, None]),
    "head_dim": st.sampled_from([8, 16, 32, 48, 15, None]),
    "num_key_value_heads": st.sampled_from([1, 2, 4, 3, None]),
    "tie_word_embeddings": _MAYBE,
    "attention_bias": _MAYBE,
    "mlp_bias": _MAYBE,
    "qkv_bias": _MAYBE,
    "sliding_window": st.sampled_from([1, 8, 24, CONTEXT, 4096, 0, None]),
    "use_sliding_window": _MAYBE,
    "max_window_layers": st.sampled_from([0, 1, 2, 28, None]),
    "sliding_window_pattern": st.sampled_from([1, 2, 3, 6, 7, None]),
    "layer_types": st.one_of(
        st.none(),
        st.lists(st.sampled_from(_LAYER_TYPES[:2]), min_size=3, max_size=7),
        st.tuples(st.sampled_from(_LAYER_TYPES), st.sampled_from([3, 4, 7])).map(
            lambda drawn: [drawn[0]] * drawn[1]
        ),
    ),
    "num_hidden_layers": st.sampled_from([1, 2, 3, 4, 7]),
    "query_pre_attn_scalar": st.sampled_from([8, 16, 32, 64, 256, 32.0, None]),
    "attn_logit_softcapping": st.sampled_from([50.0, 5, 1.0, 0, None]),
    "final_logit_softcapping": st.sampled_from([30.0, 5, 1.0, 0, None]),
    "use_bidirectional_attention": _MAYBE,
    "norm_topk_prob": _MAYBE,
    "num_experts_per_tok": st.sampled_from([1, 2, 3, 6, 7, None]),
    "num_experts": st.sampled_from([2, 6, 8, None]),
    "num_local_experts": st.sampled_from([2, 6, 8, None]),
    "moe_intermediate_size": st.sampled_from([16, 32, 48]),
    "shared_expert_intermediate_size": st.sampled_from([16, 48]),
    "mlp_only_layers": st.sampled_from([[], [1], None]),
    "decoder_sparse_step": st.sampled_from([1, 2, 0, None]),
    "intermediate_size": st.sampled_from([64, 96]),
    "is_causal": _MAYBE,
    "attention_chunk_size": st.sampled_from([8, None]),
    "num_kv_shared_layers": st.sampled_from([0, 1, None]),
    "per_layer_config": st.sampled_from([None, {}, {"1": {"intermediate_size": 64}}]),
    "attention_dropout": st.sampled_from([0.0, 0.5]),
    "pad_token_id": st.sampled_from([0, 5, None, -1]),
    "pretraining_tp": st.sampled_from([1, 2]),
    "router_jitter_noise": st.sampled_from([0.0, 0.5]),
    "output_router_logits": _MAYBE,
    "logits_scaling": st.just(4.0),
    "embedding_multiplier": st.just(2.0),
    "attention_multiplier": st.just(0.1),
    "residual_multiplier": st.just(0.5),
    "logit_scale": st.just(0.5),
    "qk_norm": st.just(True),
    "parallel_attn": st.just(True),
    "hidden_size_per_head": st.just(32),
}
EDITS = st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.fixed_dictionaries(
        {name: st.one_of(FIELDS[name], FIELDS[name], st.just(REMOVED)) for name in names}
    )
)


@pytest.mark.soak
def test_random_edits_are_computed_alike_or_named(tmp_path: Path) -> None:
    """`-s` shows what became of them."""
    seen: dict[str, Counter[str]] = {model: Counter() for model in MODELS}
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else tmp_path) as folder:
        bench = Bench(Path(folder))

        @settings(
            max_examples=EXAMPLES * len(MODELS), deadline=None, database=None, derandomize=False,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(model=st.sampled_from(sorted(MODELS)), edits=EDITS)
        def check(model: str, edits: dict[str, Any]) -> None:
            verdict = bench.verdict(model, edits, shaped=_shaping(model, edits))
            seen[model][verdict.kind] += 1
            assert verdict.kind != "different", verdict

        try:
            check()
        finally:
            print("\n", {model: dict(counts) for model, counts in seen.items()})


def _shaping(model: str, edits: dict[str, Any]) -> dict[str, Any]:
    """The edits that decide which weights there are, as far as they can be decided by."""
    names = {
        *("head_dim", "num_key_value_heads", "tie_word_embeddings", "attention_bias", "mlp_bias"),
        *("qkv_bias", "num_hidden_layers", "num_experts", "num_local_experts"),
        *("moe_intermediate_size", "shared_expert_intermediate_size", "intermediate_size"),
    }
    return {name: value for name, value in edits.items() if name in names}
