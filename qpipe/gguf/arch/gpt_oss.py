"""gpt-oss: experts with biases and attention with sinks, every other layer within a window.

Source: llama.cpp, conversion/gpt_oss.py (GptOssModel), src/models/openai-moe.cpp; transformers'
GptOssConfig for the defaults. Experts lie as [in, out] with gate and up interleaved, those in MXFP4
(which stay so) as [out, in].
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from qpipe.gguf import values, windows
from qpipe.gguf.arch import llama, views
from qpipe.gguf.arch.base import BASE, MAX_EXPERTS, Architecture, Part, Spec
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.arch.views import View
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS, Constant, Only, Positive, Whole
from qpipe.gguf.scalings import Scalings

_EVEN, _ODD = views.every_other(0), views.every_other(1)
_GATE_UP = ("experts", "ffn", "hidden")


def _gate_up(gate: View, up: View) -> tuple[Part, Part]:
    return (
        Part("ffn_gate_exps.weight", _GATE_UP, gate),
        Part("ffn_up_exps.weight", _GATE_UP, up),
    )


_IN_OUT = {
    "mlp.experts.gate_up_proj": Spec(
        ("experts", "hidden", "ffn2"),
        parts=_gate_up(views.after(views.transposed, _EVEN), views.after(views.transposed, _ODD)),
    ),
    "mlp.experts.down_proj": Spec(
        ("experts", "ffn", "hidden"),
        parts=(Part("ffn_down_exps.weight", ("experts", "hidden", "ffn"), views.transposed),),
    ),
}
_OUT_IN = {
    "mlp.experts.gate_up_proj.weight": Spec(
        ("experts", "ffn2", "hidden"), parts=_gate_up(_EVEN, _ODD)
    ),
    "mlp.experts.down_proj.weight": Spec(("experts", "hidden", "ffn"), name="ffn_down_exps.weight"),
}


def _renamed(name: str, config: Config) -> str:
    """Experts in MXFP4 have names of their own, for they lie otherwise."""
    packed = config.section("quantization_config").fields.get("quant_method") == "mxfp4"
    if packed and re.search(r"\.experts\.(gate_up|down)_proj$", name):
        return f"{name}.weight"
    return name


def _check(config: Config) -> Iterator[str]:
    if windows.layers(config) not in (None, windows.alternating(config, 2)):
        why = f"llama.cpp gives every other layer a window{OTHER_METHODS}"
        raise config.unfit("layer_types", why)
    if config.integer("num_hidden_layers") == 1:
        why = f"llama.cpp runs no such model without a layer of full attention{OTHER_METHODS}"
        raise config.unfit("num_hidden_layers", why)
    yield from ()


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    return {
        "gpt-oss.attention.sliding_window": values.u32(config.integer("sliding_window")),
        "gpt-oss.expert_feed_forward_length": values.u32(dims.ffn),
    }


ARCHITECTURE = Architecture(
    name="gpt-oss",
    hf_names=("GptOssForCausalLM",),
    fields={
        **BASE,
        "model_type": Constant("gpt_oss"),
        "num_key_value_heads": Whole(8, null=True),
        "head_dim": Whole(64),
        "sliding_window": Whole(128),
        "rms_norm_eps": Positive(1e-5),
        "max_position_embeddings": Whole(131072),
        "initial_context_length": Whole(null=True),
        "attention_bias": Only(True, why="llama.cpp loads no model without biases here"),
        "swiglu_limit": Only(None, 7.0, why="llama.cpp computes by 7.0 whatever a file says"),
        "experts_per_token": Whole(null=True),
        "num_local_experts": Whole(128, most=MAX_EXPERTS),
        "num_experts": Whole(null=True, most=MAX_EXPERTS),
        "num_experts_per_tok": Whole(4),
    },
    rope=Scalings(theta=150000.0, kinds=("yarn",), untruncated=True),
    check=_check,
    renamed=_renamed,
    own_head=True,
    expert_counts=("num_local_experts", "num_experts"),
    after_file_type=_after_file_type,
    model=llama.ARCHITECTURE.model,
    layer={
        "input_layernorm.weight": Spec(("hidden",)),
        "self_attn.q_proj.weight": Spec(("q", "hidden")),
        "self_attn.k_proj.weight": Spec(("kv", "hidden")),
        "self_attn.v_proj.weight": Spec(("kv", "hidden")),
        "self_attn.o_proj.weight": Spec(("hidden", "q")),
        "self_attn.q_proj.bias": Spec(("q",)),
        "self_attn.k_proj.bias": Spec(("kv",)),
        "self_attn.v_proj.bias": Spec(("kv",)),
        "self_attn.o_proj.bias": Spec(("hidden",)),
        "self_attn.sinks": Spec(("heads",), name="attn_sinks.weight"),
        "post_attention_layernorm.weight": Spec(("hidden",)),
        "mlp.router.weight": Spec(("experts", "hidden")),
        "mlp.router.bias": Spec(("experts",)),
        "mlp.experts.gate_up_proj_bias": Spec(
            ("experts", "ffn2"),
            parts=(
                Part("ffn_gate_exps.bias", ("experts", "ffn"), views.every_other(0, axis=-1)),
                Part("ffn_up_exps.bias", ("experts", "ffn"), views.every_other(1, axis=-1)),
            ),
        ),
        "mlp.experts.down_proj_bias": Spec(("experts", "hidden"), name="ffn_down_exps.bias"),
    },
    layouts=(_IN_OUT, _OUT_IN),
)
