"""SmolLM3: Llama, with no RoPE in every fourth layer.

Source: llama.cpp, conversion/llama.py (SmolLM3Model), src/models/smollm3.cpp; transformers'
SmolLM3Config for the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qpipe.gguf import values, windows
from qpipe.gguf.arch import llama
from qpipe.gguf.arch.base import BASE
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS, Constant, Field, Flag, Only, Whole
from qpipe.gguf.scalings import Scalings

_PERIOD = 4  # of layers, the last without RoPE (src/models/smollm3.cpp)

NO_BIAS = Only(False, why="llama.cpp loads no biases here")


def _rotated(config: Config) -> list[bool]:
    """For each layer, whether it has RoPE."""
    layers = range(config.integer("num_hidden_layers"))
    given = config.fields.get("no_rope_layers")
    if given is None:
        period = config.integer("no_rope_layer_interval")
        return [(i + 1) % period != 0 for i in layers]
    if not isinstance(given, list) or len(given) != len(layers) or set(given) - {0, 1}:
        raise config.bad("no_rope_layers", "1 or 0 for each layer, of which 1 has RoPE")
    return [bool(one) for one in given]


def _check(config: Config) -> Iterator[str]:
    rotated = _rotated(config)
    if rotated != [(i + 1) % _PERIOD != 0 for i in range(len(rotated))]:
        given = config.has("no_rope_layers")
        raise config.unfit(
            "no_rope_layers" if given else "no_rope_layer_interval",
            f"llama.cpp leaves RoPE out in each {_PERIOD}th layer alone{OTHER_METHODS}",
        )
    yield from windows.where_used(lambda config, layer: not rotated[layer])(config)


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    return {
        "smollm3.vocab_size": values.u32(dims.vocab),
        "smollm3.rope.dimension_count": values.u32(dims.head_dim),
    }


ARCHITECTURE = replace(
    llama.ARCHITECTURE,
    name="smollm3",
    hf_names=("SmolLM3ForCausalLM",),
    fields={
        **BASE,
        "model_type": Constant("smollm3"),
        "num_key_value_heads": Whole(4, null=True),
        "tie_word_embeddings": Flag(True),
        "attention_bias": NO_BIAS,
        "mlp_bias": NO_BIAS,
        "no_rope_layers": Field(),
        "no_rope_layer_interval": Whole(4),
        "use_sliding_window": Flag(False),
    },
    rope=Scalings(theta=2e6),
    check=_check,
    head_dim_default=False,
    after_file_type=_after_file_type,
    layer={**llama.ATTENTION, **llama.FEED_FORWARD},
)
