"""Mistral Small 3.1 and later, and Ministral 3: Mistral with YaRN, and attention that sharpens with
the length of the text.

Source: llama.cpp, conversion/mistral3.py (Ministral3Model), src/models/mistral3.cpp; transformers'
Ministral3Config.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qpipe.gguf import values, windows
from qpipe.gguf.arch import llama, multimodal
from qpipe.gguf.arch.base import BASE
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import Only, Positive, Whole
from qpipe.gguf.scalings import Scalings

_SHARPENS = "ministral3"


def _check(config: Config) -> Iterator[str]:
    rope = config.section("rope_parameters")
    if config.fields["model_type"] == _SHARPENS:
        if rope.fields["rope_type"] != "yarn":
            raise rope.bad("rope_type", "yarn, which goes with the model class")
        rope.positive("llama_4_scaling_beta")
        rope.positive("mscale_all_dim")
    yield from windows.everywhere(config)


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    fields = {
        "mistral3.vocab_size": values.u32(dims.vocab),
        "mistral3.rope.dimension_count": values.u32(dims.head_dim),
    }
    if config.fields["model_type"] != _SHARPENS:
        return fields
    rope = config.section("rope_parameters")
    multiplier = values.f32(rope.positive("mscale_all_dim"))
    fields["mistral3.rope.scaling.yarn_log_multiplier"] = multiplier
    scale = values.f32(rope.positive("llama_4_scaling_beta"))
    fields["mistral3.attention.temperature_scale"] = scale
    return fields


ARCHITECTURE = replace(
    llama.ARCHITECTURE,
    name="mistral3",
    hf_names=("Ministral3ForCausalLM", "Mistral3ForConditionalGeneration"),
    fields={
        **BASE,
        **multimodal.FIELDS,
        "model_type": Only(_SHARPENS, "mistral", why="llama.cpp knows no other text model here"),
        "rms_norm_eps": Positive(),
        "num_key_value_heads": Whole(8, null=True),
        "head_dim": Whole(128, null=True),
    },
    rope=Scalings(
        kinds=("default", "yarn"),
        options=("llama_4_scaling_beta", "max_position_embeddings"),
        read=("beta_fast", "beta_slow"),
        log_multiplier="one",
    ),
    check=_check,
    renamed=multimodal.renamed,
    left_out=multimodal.towers,
    after_file_type=_after_file_type,
    layer={**llama.ATTENTION, **llama.FEED_FORWARD},
)
