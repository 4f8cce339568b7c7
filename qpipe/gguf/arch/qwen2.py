"""Qwen2 and Qwen2.5: Llama's layers with q, k and v biases, rows left in place (NeoX RoPE).

Source: llama.cpp, conversion/qwen.py (Qwen2Model).
"""

from __future__ import annotations

from collections.abc import Iterator

from qpipe.gguf import windows
from qpipe.gguf.arch.base import BASE, Architecture, Spec, plain_heads
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import Constant, Field, Fields, Flag, Whole

# Of a window that counts only if it is used.
WINDOW: Fields = {
    "use_sliding_window": Flag(False),
    "sliding_window": Field(4096),
    "max_window_layers": Field(28),
}


def upper_layers(config: Config, layer: int) -> bool:
    """True if the layer has the window: those from max_window_layers up have it."""
    first = config.fields["max_window_layers"]
    if type(first) is not int:
        raise config.bad("max_window_layers", "an integer")
    return layer >= first


def _check(config: Config) -> Iterator[str]:
    plain_heads(config)
    yield from windows.where_used(upper_layers)(config)


ARCHITECTURE = Architecture(
    name="qwen2",
    hf_names=("Qwen2ForCausalLM",),
    fields={
        **BASE,
        **WINDOW,
        "model_type": Constant("qwen2"),
        "num_key_value_heads": Whole(32, null=True),
    },
    check=_check,
    model={
        "model.embed_tokens.weight": Spec(("vocab", "hidden")),
        "model.norm.weight": Spec(("hidden",)),
        "lm_head.weight": Spec(("vocab", "hidden")),
    },
    layer={
        "input_layernorm.weight": Spec(("hidden",)),
        "self_attn.q_proj.weight": Spec(("q", "hidden")),
        "self_attn.k_proj.weight": Spec(("kv", "hidden")),
        "self_attn.v_proj.weight": Spec(("kv", "hidden")),
        "self_attn.o_proj.weight": Spec(("hidden", "q")),
        "self_attn.q_proj.bias": Spec(("q",)),
        "self_attn.k_proj.bias": Spec(("kv",)),
        "self_attn.v_proj.bias": Spec(("kv",)),
        "post_attention_layernorm.weight": Spec(("hidden",)),
        "mlp.gate_proj.weight": Spec(("ffn", "hidden")),
        "mlp.up_proj.weight": Spec(("ffn", "hidden")),
        "mlp.down_proj.weight": Spec(("hidden", "ffn")),
    },
)
