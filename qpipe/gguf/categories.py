"""What kind of tensor a GGUF name stands for, as far as quantization goes.

Source: llama.cpp, src/llama-quant.cpp, tensor_get_category and tensor_allows_quantization.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from functools import lru_cache


class Category(Enum):
    """The kinds that the rules of a quantization name tell apart."""

    EMBEDDING = auto()
    OUTPUT = auto()
    VALUE = auto()  # also the joint tensors that hold values
    KEY = auto()
    QUERY = auto()
    ATTENTION_OUTPUT = auto()
    UP = auto()
    GATE = auto()
    DOWN = auto()
    OTHER = auto()


_WHOLE = {
    "output.weight": Category.OUTPUT,
    "token_embd.weight": Category.EMBEDDING,
    "per_layer_token_embd.weight": Category.EMBEDDING,
}

# The first part that a name contains decides.
_PARTS = {
    "attn_qkv.weight": Category.VALUE,
    "attn_kv_b.weight": Category.VALUE,
    "attn_v.weight": Category.VALUE,
    "attn_k.weight": Category.KEY,
    "attn_q.weight": Category.QUERY,
    "attn_output.weight": Category.ATTENTION_OUTPUT,
    "ffn_up": Category.UP,
    "ffn_gate": Category.GATE,
    "ffn_down": Category.DOWN,
}

# Parts of names that stay as they are, whatever is asked.
_KEPT = (
    *("_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight"),
    *("altup", "laurel", "per_layer_model_proj", ".position_embd"),
    *("ssm_conv1d", "shortconv.conv.weight", "attn_rel_b.weight"),
    *("indexer.k_proj.weight", "indexer.q_proj.weight"),
    *(
        f"time_mix_{part}.weight"
        for part in ["first", "w0", "w1", "w2", "v0", "v1", "v2", "a0", "a1", "a2", "g1", "g2"]
    ),
    *(f"time_mix_{part}.weight" for part in ("decay_w1", "decay_w2", "lerp_fused")),
    *("sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd", ".patch_merger"),
    *("a.rvq.codebook", "mm.a.code_embd"),
)
_KEPT_WHOLE = ("position_embd.weight", "token_types.weight")
_KEPT_IN = {
    "glm5-next": (
        *("hc_", "indexer.attn_q_b", "indexer.attn_k", "indexer.proj"),
        *("indexer_compressor_gate", "indexer_compressor_ape"),
        *("ssm_f_a.weight", "ssm_f_b.weight", "ssm_g_a.weight", "ssm_g_b.weight"),
        *("ssm_beta.weight", "attn_kv_a_mqa.weight", "attn_k_b.weight", "attn_v_b.weight"),
    ),
}


@lru_cache(maxsize=1 << 14)
def category_of(name: str) -> Category:
    """The category of the tensor called ``name``."""
    if name in _WHOLE:
        return _WHOLE[name]
    return next((kind for part, kind in _PARTS.items() if part in name), Category.OTHER)


def quantizable(name: str, shape: Sequence[int], *, arch: str = "") -> bool:
    """True if a quantization name applies to this tensor of a model of architecture ``arch``."""
    return _quantizable(name, tuple(shape), arch)


@lru_cache(maxsize=1 << 14)  # each level of a sweep asks about each tensor
def _quantizable(name: str, shape: tuple[int, ...], arch: str) -> bool:
    return (
        _dimensions(shape) >= 2
        and name.endswith("weight")
        and name not in _KEPT_WHOLE
        and not any(part in name for part in (*_KEPT, *_KEPT_IN.get(arch, ())))
    )


def _dimensions(shape: Sequence[int]) -> int:
    """ggml_n_dims: leading dimensions of one do not count, so one row of weights is a vector."""
    return next((len(shape) - i for i, size in enumerate(shape) if size > 1), 1)
