"""Granite 3: Llama with multipliers of embeddings, attention, residuals and logits.

Source: llama.cpp, conversion/granite.py (GraniteModel), src/models/granite.cpp; transformers'
GraniteConfig for the defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from qpipe.gguf import values, windows
from qpipe.gguf.arch import llama
from qpipe.gguf.arch.base import BASE, plain_heads
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import Constant, Fields, Flag, Positive

_SCALES = {
    "attention_multiplier": "attention.scale",
    "embedding_multiplier": "embedding_scale",
    "residual_multiplier": "residual_scale",
    "logits_scaling": "logit_scale",
}

FIELDS: Fields = {
    **BASE,
    **dict.fromkeys(_SCALES, Positive(1.0)),
    "attention_bias": Flag(False),
}


def _check(config: Config) -> Iterator[str]:
    plain_heads(config)
    yield from windows.everywhere(config)


def after_file_type(arch: str) -> Callable[[Config, Dims], values.Metadata]:
    """Llama's keys, and those of the multipliers."""

    def metadata(config: Config, dims: Dims) -> values.Metadata:
        fields = {
            f"{arch}.vocab_size": values.u32(dims.vocab),
            f"{arch}.rope.dimension_count": values.u32(dims.head_dim),
        }
        for field, key in _SCALES.items():
            fields[f"{arch}.{key}"] = values.f32(config.positive(field))
        return fields

    return metadata


ARCHITECTURE = replace(
    llama.ARCHITECTURE,
    name="granite",
    hf_names=("GraniteForCausalLM",),
    fields={**FIELDS, "model_type": Constant("granite"), "mlp_bias": Flag(False)},
    check=_check,
    head_dim_default=False,
    after_file_type=after_file_type("granite"),
)
