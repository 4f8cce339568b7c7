"""Gemma 3, its text model: Gemma 2 with norms on q and k, and another RoPE base in local layers.

Source: llama.cpp, conversion/gemma.py (Gemma3Model); transformers' Gemma3TextConfig for the
defaults.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpipe.gguf import values, windows
from qpipe.gguf.arch import gemma2, multimodal, views
from qpipe.gguf.arch.base import MAX_LAYERS, Architecture, Spec
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS, Constant, Field, Flag, Only, Positive, Whole
from qpipe.gguf.scalings import Scalings

_PERIOD = 6  # of layers, of which the last attends to all (src/models/gemma3.cpp)


def _layers(config: Config) -> list[str]:
    period = config.integer("sliding_window_pattern")
    return windows.layers(config) or windows.alternating(config, period)


def _check(config: Config) -> Iterator[str]:
    gemma2.check_scale(config, by_width=62)
    kinds = _layers(config)
    if windows.SLIDING in kinds:
        config.integer("sliding_window")
        if kinds != windows.alternating(config, _PERIOD):
            raise config.unfit(
                "layer_types" if config.has("layer_types") else "sliding_window_pattern",
                f"llama.cpp gives each {_PERIOD}th layer no window, and the others one"
                f"{OTHER_METHODS}",
            )
    yield from ()


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    fields: values.Metadata = {}
    if config.has("final_logit_softcapping"):
        cap = values.f32(config.positive("final_logit_softcapping"))
        fields["gemma3.final_logit_softcapping"] = cap
    if windows.SLIDING in _layers(config):
        fields["gemma3.attention.sliding_window"] = values.u32(config.integer("sliding_window"))
    return fields


ARCHITECTURE = Architecture(
    name="gemma3",
    hf_names=("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
    fields={
        **gemma2.GEMMA,
        **multimodal.FIELDS,
        "vocab_size": Whole(262208),
        "hidden_size": Whole(2304),
        "intermediate_size": Whole(9216),
        "num_hidden_layers": Whole(26, most=MAX_LAYERS),
        "model_type": Constant("gemma3_text"),
        "num_attention_heads": Whole(8),
        "max_position_embeddings": Whole(131072),
        "tie_word_embeddings": Flag(True),
        "sliding_window": Whole(4096, null=True),
        "sliding_window_pattern": Whole(6),
        "_sliding_window_pattern": Field(),
        "rope_local_base_freq": Field(),
        "attn_logit_softcapping": Only(None, why="llama.cpp caps no attention in Gemma 3"),
        "final_logit_softcapping": Positive(null=True),
    },
    rope=Scalings(theta=1e6, kinds=("default", "linear", "dynamic"), local=1e4),
    check=_check,
    renamed=multimodal.renamed,
    left_out=multimodal.towers,
    after_file_type=_after_file_type,
    after_vocabulary=gemma2.no_space_prefix,
    model=gemma2.MODEL,
    layer=gemma2.LAYER
    | {
        "self_attn.q_norm.weight": Spec(("head_dim",), compute=views.plus_one),
        "self_attn.k_norm.weight": Spec(("head_dim",), compute=views.plus_one),
    },
)
