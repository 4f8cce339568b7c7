"""Mamba and RWKV as GGUF has them, which qpipe does not write: (architecture, hyperparameters,
shapes of tensors), of published models' sizes with fewer layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Shapes = Mapping[str, tuple[int, ...]]
Model = tuple[str, Mapping[str, float], Shapes]


def mamba(hidden: int = 2560, layers: int = 8, state: int = 16, rank: int = 160) -> Model:
    """Mamba 2.8B."""
    inner = 2 * hidden
    layer = {
        "attn_norm.weight": (hidden,),
        "ssm_in.weight": (2 * inner, hidden),
        "ssm_conv1d.weight": (inner, 4),
        "ssm_conv1d.bias": (inner,),
        "ssm_x.weight": (rank + 2 * state, inner),
        "ssm_dt.weight": (inner, rank),
        "ssm_dt.bias": (inner,),
        "ssm_a": (inner, state),
        "ssm_d": (inner,),
        "ssm_out.weight": (hidden, inner),
    }
    numbers = {
        "embedding_length": hidden,
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": rank,
        "attention.layer_norm_rms_epsilon": 1e-5,
    }
    outside = {"token_embd.weight": (50280, hidden), "output_norm.weight": (hidden,)}
    return _model("mamba", layers, numbers, outside, [layer] * layers)


def rwkv7(hidden: int = 2048, layers: int = 6) -> Model:
    """RWKV-7 World 1.5B."""
    ranks = {"decay": 96, "iclr": 96, "value_residual_mix": 64, "gate": 256}
    numbers = {f"attention.{name}_lora_rank": rank for name, rank in ranks.items()}
    square = ("time_mix_key", "time_mix_value", "time_mix_receptance", "time_mix_output")
    vectors = ("w0", "a0", "v0", "k_k", "k_a", "r_k")
    each = []
    for index in range(layers):
        value = ranks["value_residual_mix"] if index else ranks["iclr"]
        low = {"w": ranks["decay"], "a": ranks["iclr"], "v": value, "g": ranks["gate"]}
        each.append(
            _mixing(hidden, 4 * hidden, square)
            | {f"time_mix_{name}.weight": (hidden,) for name in vectors}
            | {f"time_mix_{name}1.weight": (rank, hidden) for name, rank in low.items()}
            | {f"time_mix_{name}2.weight": (hidden, rank) for name, rank in low.items()}
            | {"time_mix_lerp_fused.weight": (6, 1, 1, hidden)}
        )
    return _model("rwkv7", layers, numbers | _numbers(hidden, 4 * hidden), _outside(hidden), each)


def rwkv6(hidden: int = 2048, layers: int = 6, extra: int = 32, decay: int = 64) -> Model:
    """RWKV-6 World 1.6B."""
    mixing = ("key", "value", "receptance", "gate", "output")
    square = (*(f"time_mix_{name}" for name in mixing), "channel_mix_receptance")
    wide = 7 * hidden // 2
    layer = _mixing(hidden, wide, square) | {
        "time_mix_w1.weight": (5 * extra, hidden),
        "time_mix_w2.weight": (5, hidden, extra),
        "time_mix_lerp_x.weight": (1, 1, hidden),
        "time_mix_lerp_fused.weight": (5, 1, 1, hidden),
        "time_mix_first.weight": (hidden // 64, 64),
        "time_mix_decay.weight": (hidden,),
        "time_mix_decay_w1.weight": (decay, hidden),
        "time_mix_decay_w2.weight": (hidden, decay),
        "channel_mix_lerp_r.weight": (1, 1, hidden),
    }
    ranks = {"time_mix_extra_dim": extra, "time_decay_extra_dim": decay}
    numbers = _numbers(hidden, wide) | ranks
    return _model("rwkv6", layers, numbers, _outside(hidden), [layer] * layers)


def _mixing(hidden: int, wide: int, square: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    norms = ("attn_norm", "attn_norm_2", "time_mix_ln")
    return {
        **{f"{name}.{kind}": (hidden,) for name in norms for kind in ("weight", "bias")},
        **{f"{name}.weight": (hidden, hidden) for name in square},
        "channel_mix_lerp_k.weight": (1, 1, hidden),
        "channel_mix_key.weight": (wide, hidden),
        "channel_mix_value.weight": (hidden, wide),
    }


def _numbers(hidden: int, wide: int) -> dict[str, float]:
    return {
        "embedding_length": hidden,
        "feed_forward_length": wide,
        "attention.head_count": 0,
        "wkv.head_size": 64,
        "token_shift_count": 2,
        "attention.layer_norm_epsilon": 1e-5,
    }


def _outside(hidden: int) -> dict[str, tuple[int, ...]]:
    norms = ("token_embd_norm", "output_norm")
    return {
        "token_embd.weight": (65536, hidden),
        "output.weight": (65536, hidden),
        **{f"{name}.{kind}": (hidden,) for name in norms for kind in ("weight", "bias")},
    }


def _model(
    arch: str, layers: int, numbers: Mapping[str, float], outside: Shapes, each: Sequence[Shapes]
) -> Model:
    below = {f"blk.{i}.{name}": s for i, layer in enumerate(each) for name, s in layer.items()}
    return arch, {"context_length": 4096, "block_count": layers, **numbers}, {**outside, **below}


MODELS = {"Mamba": mamba, "RWKV 6": rwkv6, "RWKV 7": rwkv7}
