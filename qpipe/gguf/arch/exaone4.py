"""EXAONE 4: norms behind attention and feed-forward network and on q and k; the large model has
windows in three of four layers, and RoPE in these alone.

Source: llama.cpp, conversion/exaone.py (Exaone4Model), src/models/exaone4.cpp, which knows a model
with windows by its 64 layers; transformers' Exaone4Config for the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpipe.gguf import values, windows
from qpipe.gguf.arch.base import BASE, Architecture, Spec, plain_heads
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS, Constant, Field, Positive, Whole
from qpipe.gguf.scalings import Scalings

_WITH_WINDOWS = 64  # layers


def _layers(config: Config) -> list[str]:
    given = windows.layers(config)
    if given is not None:
        return given
    if not config.has("sliding_window"):
        return [windows.FULL] * config.integer("num_hidden_layers")
    return windows.alternating(config, config.integer("sliding_window_pattern"))


def _check(config: Config) -> Iterator[str]:
    plain_heads(config)
    slides = config.has("sliding_window")
    if not slides and windows.SLIDING in _layers(config):
        raise config.bad("layer_types", f"{windows.FULL} alone, for there is no window")
    if slides != (config.integer("num_hidden_layers") == _WITH_WINDOWS):
        why = f"llama.cpp computes windows in models of {_WITH_WINDOWS} layers, and in these always"
        raise config.unfit("sliding_window", f"{why}{OTHER_METHODS}")
    yield from ()


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    fields = {"exaone4.vocab_size": values.u32(dims.vocab)}
    if config.has("sliding_window"):
        window = values.u32(config.integer("sliding_window"))
        slides = [kind == windows.SLIDING for kind in _layers(config)]
        fields["exaone4.attention.sliding_window"] = window
        fields["exaone4.attention.sliding_window_pattern"] = values.booleans(slides)
    return fields


ARCHITECTURE = Architecture(
    name="exaone4",
    hf_names=("Exaone4ForCausalLM",),
    fields={
        **BASE,
        "model_type": Constant("exaone4"),
        "num_key_value_heads": Whole(32),
        "rms_norm_eps": Positive(1e-5),
        "sliding_window": Whole(4096, null=True),
        "sliding_window_pattern": Field(4),
    },
    rope=Scalings(kinds=("default", "linear", "dynamic", "yarn", "llama3")),
    check=_check,
    after_file_type=_after_file_type,
    model={
        "model.embed_tokens.weight": Spec(("vocab", "hidden")),
        "model.norm.weight": Spec(("hidden",)),
        "lm_head.weight": Spec(("vocab", "hidden")),
    },
    layer={
        "self_attn.q_proj.weight": Spec(("q", "hidden")),
        "self_attn.k_proj.weight": Spec(("kv", "hidden")),
        "self_attn.v_proj.weight": Spec(("kv", "hidden")),
        "self_attn.o_proj.weight": Spec(("hidden", "q")),
        "self_attn.q_norm.weight": Spec(("head_dim",)),
        "self_attn.k_norm.weight": Spec(("head_dim",)),
        "post_attention_layernorm.weight": Spec(("hidden",)),
        "mlp.gate_proj.weight": Spec(("ffn", "hidden")),
        "mlp.up_proj.weight": Spec(("ffn", "hidden")),
        "mlp.down_proj.weight": Spec(("hidden", "ffn")),
        "post_feedforward_layernorm.weight": Spec(("hidden",)),
    },
)
