"""Rotary position embedding: base frequency, and the scalings that lengthen the context.

Source: llama.cpp, conversion/base.py (TextModel.set_gguf_parameters) and conversion/llama.py
(generate_extra_tensors). transformers 5 writes ``rope_parameters``, older ones ``rope_scaling``
and ``rope_theta``.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

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
    kind = _kind(rope)
    found: values.Metadata = {}
    if kind in ("linear", "yarn"):
        found |= _scaling(f"{arch}.rope.scaling", str(kind), rope, config)
    elif kind not in ("default", "llama3"):
        raise errors.CheckpointError(
            f"{config.path}: the RoPE scaling {kind!r} cannot be converted to GGUF; "
            "supported: default, linear, yarn, llama3"
        )
    return found | {f"{arch}.rope.freq_base": values.f32(_theta(rope, config))}


def factors(config: Config, head_dim: int) -> npt.NDArray[np.float32] | None:
    """Llama 3's divisors of the frequencies [head_dim / 2], a tensor of their own in GGUF.

    None for any other scaling. Long wavelengths are stretched by ``factor``, short ones kept,
    those between interpolated; float32 throughout, in the converter's order.
    """
    rope = _section(config)
    if _kind(rope) != "llama3":
        return None
    one = np.float32(1)
    theta = np.float32(_theta(rope, config))
    factor = np.float32(rope.number("factor", 8.0))
    low, high = (rope.number("low_freq_factor", 1.0), rope.number("high_freq_factor", 4.0))
    original = rope.integer("original_max_position_embeddings", 8192)
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    # The converter's scalar / tensor is torch's reciprocal times scalar: two roundings.
    wavelengths = one / (one / theta**exponents) * np.float32(2 * math.pi)
    periods = one / wavelengths * np.float32(original)
    smooth = (periods - np.float32(low)) / np.float32(high - low)
    between = one / ((one - smooth) / factor + smooth)
    stretched = np.where(wavelengths > original / low, factor, between)
    return np.where(wavelengths < original / high, one, stretched).astype(np.float32)


def _kind(rope: Config) -> object:
    return rope.fields.get("rope_type", rope.fields.get("type")) or "default"


def _theta(rope: Config, config: Config) -> float:
    return rope.number("rope_theta", config.number("rope_theta", DEFAULT_THETA))


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
