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


def require(config: Config, *kinds: str) -> None:
    """`CheckpointError` for a scaling that is none of ``kinds``."""
    kind = _kind(_section(config))
    if kind not in kinds:
        raise errors.CheckpointError(
            f"{config.path}: field 'rope_type' names the RoPE scaling {kind!r}, which cannot be "
            f"converted to GGUF for this architecture; supported: {', '.join(kinds)}"
        )


def parameters(arch: str, config: Config) -> values.Metadata:
    """The ``ARCH.rope.*`` keys, of a scaling that `require` has let pass."""
    rope = _section(config)
    kind = _kind(rope)
    found: values.Metadata = {}
    if kind in ("linear", "yarn"):
        found |= _scaling(f"{arch}.rope.scaling", str(kind), rope, config)
    found[f"{arch}.rope.freq_base"] = values.f32(_theta(rope, config))
    local = _local_theta(config)
    if local is not None:
        found[f"{arch}.rope.freq_base_swa"] = values.f32(local)
    return found


def tensors(config: Config, head_dim: int) -> dict[str, npt.NDArray[np.float32]]:
    """Vectors that GGUF keeps beside the weights, by name."""
    llama3 = factors(config, head_dim)
    return {} if llama3 is None else {"rope_freqs.weight": llama3}


def theta(config: Config) -> float:
    """The base frequency."""
    return _theta(_section(config), config)


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
    original = _original(rope, config)
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


def _local_theta(config: Config) -> float | None:
    """The base frequency of layers with a sliding window, where they have their own."""
    per_layer_type = _given(config).section("sliding_attention")
    if per_layer_type.has("rope_theta"):
        return per_layer_type.number("rope_theta")
    if config.has("rope_local_base_freq"):
        return config.number("rope_local_base_freq")
    return None


def _original(rope: Config, config: Config) -> int:
    """The context before it was lengthened; transformers takes the whole one where none is given
    (modeling_rope_utils.py, standardize_rope_params)."""
    field = "original_max_position_embeddings"
    if rope.has(field) or config.has(field):
        return (rope if rope.has(field) else config).integer(field)
    return config.integer("max_position_embeddings")


def _section(config: Config) -> Config:
    given = _given(config)
    return given.section("full_attention") if given.has("full_attention") else given


def _given(config: Config) -> Config:
    return config.section("rope_parameters" if config.has("rope_parameters") else "rope_scaling")


def _scaling(prefix: str, kind: str, rope: Config, config: Config) -> values.Metadata:
    found = {
        f"{prefix}.type": values.string(kind),
        f"{prefix}.factor": values.f32(rope.number("factor")),
    }
    if kind == "yarn":
        found[f"{prefix}.original_context_length"] = values.u32(_original(rope, config))
        for option, key in _YARN_OPTIONS.items():
            if rope.has(option):
                found[f"{prefix}.{key}"] = values.f32(rope.number(option))
    return found
