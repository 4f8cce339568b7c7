"""RoPE in GGUF: base frequency, scaling, and Llama 3's factors, of a config that `scalings` read.

Source: llama.cpp, conversion/base.py (TextModel.set_gguf_parameters) and conversion/llama.py
(generate_extra_tensors).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from qpipe.gguf import values
from qpipe.gguf.config import Config

_YARN_OPTIONS = {
    "extrapolation_factor": "yarn_ext_factor",
    "attention_factor": "yarn_attn_factor",
    "beta_fast": "yarn_beta_fast",
    "beta_slow": "yarn_beta_slow",
}


def parameters(arch: str, config: Config) -> values.Metadata:
    """The ``ARCH.rope.*`` keys."""
    rope = _section(config)
    kind = rope.fields["rope_type"]
    fields: values.Metadata = {}
    if kind in ("linear", "yarn"):
        fields |= _scaling(f"{arch}.rope.scaling", str(kind), rope)
    if rope.has("mrope_section"):
        sections = [*rope.fields["mrope_section"], 0, 0, 0][:4]  # of time, height, width, more
        fields[f"{arch}.rope.dimension_sections"] = values.i32s(sections)
    fields[f"{arch}.rope.freq_base"] = values.f32(rope.positive("rope_theta"))
    local = config.section("rope_parameters").section("sliding_attention")
    if local.fields:
        fields[f"{arch}.rope.freq_base_swa"] = values.f32(local.positive("rope_theta"))
    return fields


def tensors(config: Config, head_dim: int) -> dict[str, npt.NDArray[np.float32]]:
    """Vectors that GGUF keeps beside the weights, by name."""
    llama3 = factors(config, head_dim)
    return {} if llama3 is None else {"rope_freqs.weight": llama3}


def theta(config: Config) -> float:
    """The base frequency."""
    return _section(config).positive("rope_theta")


def factors(config: Config, head_dim: int) -> npt.NDArray[np.float32] | None:
    """Llama 3's divisors of the frequencies [head_dim / 2], a tensor of their own in GGUF.

    None for any other scaling. Long wavelengths are stretched by ``factor``, short ones kept,
    those between interpolated; float32 throughout, in the converter's order.
    """
    rope = _section(config)
    if rope.fields["rope_type"] != "llama3":
        return None
    one = np.float32(1)
    theta = np.float32(rope.positive("rope_theta"))
    factor = np.float32(rope.positive("factor"))
    low, high = (rope.positive("low_freq_factor"), rope.positive("high_freq_factor"))
    original = rope.integer("original_max_position_embeddings")
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    # The converter's scalar / tensor is in torch 2.13.0 a reciprocal times the scalar: two
    # roundings.
    wavelengths = one / (one / theta**exponents) * np.float32(2 * math.pi)
    periods = one / wavelengths * np.float32(original)
    with np.errstate(divide="ignore", invalid="ignore"):  # Llama 4 has nothing in between
        smooth = (periods - np.float32(low)) / np.float32(high - low)
        between = one / ((one - smooth) / factor + smooth)
    stretched = np.where(wavelengths > original / low, factor, between)
    return np.where(wavelengths < original / high, one, stretched).astype(np.float32)


def _section(config: Config) -> Config:
    parameters = config.section("rope_parameters")
    return parameters.section("full_attention") if parameters.has("full_attention") else parameters


def _scaling(prefix: str, kind: str, rope: Config) -> values.Metadata:
    fields = {
        f"{prefix}.type": values.string(kind),
        f"{prefix}.factor": values.f32(rope.positive("factor")),
    }
    if kind == "yarn":
        original = values.u32(rope.integer("original_max_position_embeddings"))
        fields[f"{prefix}.original_context_length"] = original
        for option, key in _YARN_OPTIONS.items():
            if rope.has(option):
                fields[f"{prefix}.{key}"] = values.f32(rope.positive(option))
    return fields
