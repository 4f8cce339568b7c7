"""Rotary position embedding: base frequency, and the scalings that lengthen the context.

Source: llama.cpp, conversion/base.py (TextModel.set_gguf_parameters) and conversion/llama.py
(generate_extra_tensors). transformers 5 writes ``rope_parameters``, older ones ``rope_scaling``
and ``rope_theta``.
"""

from __future__ import annotations

from qpipe import errors
from qpipe.gguf import values
from qpipe.gguf.config import Config

DEFAULT_THETA = 10000.0

_YARN_OPTIONS = {
    "extrapolation_factor": "yarn_ext_factor",
    "attention_factor": "yarn_attn_factor",
    "beta_fast": "yarn_beta_fast",
    "beta_slow": "yarn_beta_slow",
}


def parameters(arch: str, config: Config) -> values.Metadata:
    """The ``ARCH.rope.*`` keys; `CheckpointError` for a scaling that is not supported."""
    rope = _section(config)
    kind = rope.fields.get("rope_type", rope.fields.get("type")) or "default"
    found: values.Metadata = {}
    if kind in ("linear", "yarn"):
        found |= _scaling(f"{arch}.rope.scaling", str(kind), rope, config)
    elif kind != "default":
        raise errors.CheckpointError(
            f"{config.path}: the RoPE scaling {kind!r} cannot be converted to GGUF; "
            "supported: default, linear, yarn"
        )
    theta = rope.number("rope_theta", config.number("rope_theta", DEFAULT_THETA))
    return found | {f"{arch}.rope.freq_base": values.f32(theta)}


def _section(config: Config) -> Config:
    return config.section("rope_parameters" if config.has("rope_parameters") else "rope_scaling")


def _scaling(prefix: str, kind: str, rope: Config, config: Config) -> values.Metadata:
    found = {
        f"{prefix}.type": values.string(kind),
        f"{prefix}.factor": values.f32(rope.number("factor")),
    }
    if kind == "yarn":
        original = (rope if rope.has("original_max_position_embeddings") else config).integer(
            "original_max_position_embeddings"
        )
        found[f"{prefix}.original_context_length"] = values.u32(original)
        for option, key in _YARN_OPTIONS.items():
            if rope.has(option):
                found[f"{prefix}.{key}"] = values.f32(rope.number(option))
    return found
