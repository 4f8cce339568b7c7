"""OLMo 3: OLMo 2 with windows in most layers, which have a RoPE of their own; in GGUF it is an
OLMo 2.

Source: llama.cpp, conversion/olmo.py (Olmo2Model), src/models/olmo2.cpp; transformers' Olmo3Config
for the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qpipe.gguf import values, windows
from qpipe.gguf.arch import olmo2
from qpipe.gguf.arch.base import plain_heads
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS, Constant, Whole
from qpipe.gguf.scalings import Scalings

_PERIOD = 4


def _layers(config: Config) -> list[str]:
    return windows.layers(config) or windows.alternating(config, _PERIOD)


def _check(config: Config) -> Iterator[str]:
    plain_heads(config)
    rope = config.section("rope_parameters")
    full, local = (rope.section(name) for name in ("full_attention", "sliding_attention"))
    if full.positive("rope_theta") != local.positive("rope_theta"):
        why = f"llama.cpp computes all layers by that of full_attention{OTHER_METHODS}"
        raise local.unfit("rope_theta", why)
    yield from ()


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    slides = [kind == windows.SLIDING for kind in _layers(config)]
    return {
        "olmo2.attention.sliding_window": values.u32(config.integer("sliding_window")),
        "olmo2.attention.sliding_window_pattern": values.booleans(slides),
    }


ARCHITECTURE = replace(
    olmo2.ARCHITECTURE,
    hf_names=("Olmo3ForCausalLM",),
    fields={
        **olmo2.FIELDS,
        "model_type": Constant("olmo3"),
        "sliding_window": Whole(4096),
    },
    rope=Scalings(theta=5e5, local=5e5, kinds=("default", "linear", "dynamic", "yarn")),
    check=_check,
    after_file_type=_after_file_type,
)
