"""Gemma 3, text alone: Gemma 2 with norms on q and k, and another RoPE base in local layers.

Source: llama.cpp, conversion/gemma.py (Gemma3Model); transformers' Gemma3TextConfig for the
defaults.
"""

from __future__ import annotations

from qpipe.gguf import values
from qpipe.gguf.arch import gemma2
from qpipe.gguf.arch.base import Architecture, Dims, Spec
from qpipe.gguf.config import Config


def _check(config: Config) -> None:
    if config.has("attn_logit_softcapping"):
        raise config.bad("attn_logit_softcapping", "null: Gemma 3 has no such cap in GGUF")


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    found: values.Metadata = {}
    if config.has("final_logit_softcapping"):
        cap = values.f32(config.number("final_logit_softcapping"))
        found["gemma3.final_logit_softcapping"] = cap
    if config.fields.get("sliding_window_pattern") != 1:
        found["gemma3.attention.sliding_window"] = values.u32(config.integer("sliding_window"))
    return found


ARCHITECTURE = Architecture(
    name="gemma3",
    hf_names=("Gemma3ForCausalLM",),
    defaults={
        "head_dim": 256,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "sliding_window": 4096,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
    },
    check=_check,
    after_file_type=_after_file_type,
    after_vocabulary=gemma2.no_space_prefix,
    model=gemma2.MODEL,
    layer=gemma2.LAYER
    | {
        "self_attn.q_norm.weight": Spec(("head_dim",), shift=1.0),
        "self_attn.k_norm.weight": Spec(("head_dim",), shift=1.0),
    },
)
