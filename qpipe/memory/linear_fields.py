"""Fields of config.json by which layers keep states in place of keys and values.

Source: transformers 5.17, models/ (mamba, mamba2, jamba, bamba, falcon_h1, nemotron_h, qwen3_next,
kimi_linear, lfm2, minimax); llama.cpp 0.6.0-dev, llama_hparams::n_embd_r and n_embd_s.
"""

from __future__ import annotations

from collections.abc import Callable

from qpipe.gguf.config import Config
from qpipe.memory.geometry import LayerGeometry


def _space(inner: int, state: int, groups: int, kernel: int) -> LayerGeometry:
    """Mamba's states: the last inputs of the convolution, and the state."""
    rolling = (kernel - 1) * (inner + 2 * groups * state)
    return LayerGeometry("state space", rolling=rolling, recurrent=inner * state)


def _mamba(text: Config) -> LayerGeometry:
    inner = text.integer("intermediate_size", text.integer("expand", 2) * _hidden(text))
    return _space(inner, text.integer("state_size", 16), 0, text.integer("conv_kernel", 4))


def _mamba2(text: Config) -> LayerGeometry:
    inner = text.integer("expand", 2) * _hidden(text)
    groups, kernel = text.integer("n_groups", 8), text.integer("conv_kernel", 4)
    return _space(inner, text.integer("state_size", 128), groups, kernel)


def _jamba(text: Config) -> LayerGeometry:
    inner = text.integer("mamba_expand", 2) * _hidden(text)
    return _space(inner, text.integer("mamba_d_state", 16), 0, text.integer("mamba_d_conv", 4))


def _heads_of_mamba(text: Config) -> LayerGeometry:
    """Bamba, Falcon-H1 and Granite 4."""
    inner = text.integer("mamba_d_ssm", text.integer("mamba_expand", 2) * _hidden(text))
    groups, kernel = text.integer("mamba_n_groups", 1), text.integer("mamba_d_conv", 4)
    return _space(inner, text.integer("mamba_d_state", 256), groups, kernel)


def _nemotron(text: Config) -> LayerGeometry:
    inner = text.integer("mamba_num_heads") * text.integer("mamba_head_dim")
    groups, kernel = text.integer("n_groups", 8), text.integer("conv_kernel", 4)
    return _space(inner, text.integer("ssm_state_size"), groups, kernel)


def _delta_net(text: Config) -> LayerGeometry:
    """Gated delta net: Qwen3-Next, Qwen3.5 and OLMo Hybrid."""
    state, value = text.integer("linear_key_head_dim"), text.integer("linear_value_head_dim")
    inner = text.integer("linear_num_value_heads") * value
    width = inner + 2 * text.integer("linear_num_key_heads") * state
    rolling = (text.integer("linear_conv_kernel_dim") - 1) * width
    return LayerGeometry("linear attention", rolling=rolling, recurrent=inner * state)


def _delta_attention(text: Config) -> LayerGeometry:
    """Kimi delta attention."""
    section = text.section("linear_attn_config")
    heads, size = section.integer("num_heads"), section.integer("head_dim")
    rolling = 3 * (section.integer("short_conv_kernel_size", 4) - 1) * heads * size
    return LayerGeometry("linear attention", rolling=rolling, recurrent=heads * size * size)


def _short_convolution(text: Config) -> LayerGeometry:
    taps = text.integer("conv_L_cache", 3)
    return LayerGeometry("short convolution", rolling=_hidden(text) * (taps - 1))


def _lightning(text: Config) -> LayerGeometry:
    """MiniMax-Text-01: a matrix for each head."""
    heads = text.integer("num_attention_heads")
    size = text.integer("head_dim", _hidden(text) // heads)
    return LayerGeometry("linear attention", recurrent=heads * size * size)


def _rwkv(text: Config) -> LayerGeometry:
    """RWKV 5 to 7: two shifted tokens, and a matrix for each head."""
    name = "head_size" if text.has("head_size") else "head_dim"
    hidden, size = _hidden(text), text.integer(name, 64)
    return LayerGeometry("linear attention", rolling=2 * hidden, recurrent=hidden * size)


def _hidden(text: Config) -> int:
    return text.integer("d_model" if text.has("d_model") else "hidden_size")


def _type(*names: str) -> Callable[[Config], bool]:
    return lambda text: str(text.fields.get("model_type")) in names


def _has(field: str) -> Callable[[Config], bool]:
    return lambda text: text.has(field)


STATES: tuple[tuple[Callable[[Config], bool], Callable[[Config], LayerGeometry]], ...] = (
    (_type("mamba", "falcon_mamba"), _mamba),
    (_type("mamba2"), _mamba2),
    (_type("jamba"), _jamba),
    (_type("rwkv5", "rwkv6", "rwkv7", "rwkv6qwen2"), _rwkv),
    (_has("linear_attn_config"), _delta_attention),
    (_has("linear_key_head_dim"), _delta_net),
    (_has("ssm_state_size"), _nemotron),
    (_has("mamba_d_state"), _heads_of_mamba),
    (_has("conv_L_cache"), _short_convolution),
    (_has("attn_type_list"), _lightning),
    (_type("minimax"), _lightning),
)
"""Whether a config has layers of a kind, and what one of them keeps; the first that fits counts."""
