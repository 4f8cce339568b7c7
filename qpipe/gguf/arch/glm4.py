"""GLM-4, dense: norms in front of attention and feed-forward network and behind them, RoPE on half
of each head, gate and up projection in one.

Source: llama.cpp, conversion/glm.py (Glm4Model), src/models/glm4.cpp; transformers' Glm4Config for
the defaults.
"""

from __future__ import annotations

from qpipe.gguf import values, windows
from qpipe.gguf.arch.base import BASE, Architecture, Spec
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import Constant, Flag, Positive, Whole
from qpipe.gguf.scalings import Scalings


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    factor = config.section("rope_parameters").positive("partial_rotary_factor")
    return {"glm4.rope.dimension_count": values.u32(int(dims.head_dim * factor))}


ARCHITECTURE = Architecture(
    name="glm4",
    hf_names=("Glm4ForCausalLM",),
    fields={
        **BASE,
        "model_type": Constant("glm4"),
        "num_key_value_heads": Whole(2),
        "head_dim": Whole(128),
        "rms_norm_eps": Positive(1.5625e-7),
        "attention_bias": Flag(True),
    },
    rope=Scalings(partial=0.5),
    check=windows.everywhere,
    after_file_type=_after_file_type,
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
        "self_attn.q_proj.bias": Spec(("q",), when="attention_bias"),
        "self_attn.k_proj.bias": Spec(("kv",), when="attention_bias"),
        "self_attn.v_proj.bias": Spec(("kv",), when="attention_bias"),
        "post_self_attn_layernorm.weight": Spec(("hidden",)),
        "post_attention_layernorm.weight": Spec(("hidden",)),
        "mlp.gate_up_proj.weight": Spec(("ffn2", "hidden")),
        "mlp.down_proj.weight": Spec(("hidden", "ffn")),
        "post_mlp_layernorm.weight": Spec(("hidden",)),
    },
)
