"""OLMo 2: norms behind attention and feed-forward network, and over all heads of q and of k.

Source: llama.cpp, conversion/olmo.py (Olmo2Model), src/models/olmo2.cpp; transformers' Olmo2Config
for the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpipe.gguf import windows
from qpipe.gguf.arch.base import ALIKE, BASE, Architecture, Spec, plain_heads
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS, Constant, Fields, Only, Positive


def _check(config: Config) -> Iterator[str]:
    plain_heads(config)
    if windows.SLIDING in (windows.layers(config) or ()):
        raise config.unfit("layer_types", f"{ALIKE}{OTHER_METHODS}")
    yield from ()


FIELDS: Fields = {
    **BASE,
    "rms_norm_eps": Positive(1e-5),
    "attention_bias": Only(False, why="llama.cpp adds no biases here"),
}

ARCHITECTURE = Architecture(
    name="olmo2",
    hf_names=("Olmo2ForCausalLM",),
    fields={
        **FIELDS,
        "model_type": Constant("olmo2"),
        "sliding_window": Only(None, why="transformers computes no window here"),
    },
    check=_check,
    own_head=True,
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
        "self_attn.q_norm.weight": Spec(("q",)),
        "self_attn.k_norm.weight": Spec(("kv",)),
        "post_attention_layernorm.weight": Spec(("hidden",)),
        "mlp.gate_proj.weight": Spec(("ffn", "hidden")),
        "mlp.up_proj.weight": Spec(("ffn", "hidden")),
        "mlp.down_proj.weight": Spec(("hidden", "ffn")),
        "post_feedforward_layernorm.weight": Spec(("hidden",)),
    },
)
