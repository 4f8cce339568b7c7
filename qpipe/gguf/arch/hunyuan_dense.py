"""Hunyuan, dense: norms on q and k behind RoPE, whose base a factor alpha stretches.

Source: llama.cpp, conversion/hunyuan.py (HunYuanModel), src/models/hunyuan-vl.cpp; transformers'
HunYuanDenseV1Config for the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpipe.gguf import values, windows
from qpipe.gguf.arch.base import BASE, Architecture, Spec
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS, Constant, Field, Only, Positive, Whole
from qpipe.gguf.scalings import Scalings

# What the converter takes for granted of models with alpha: so many tokens, published as the first.
_CONTEXTS, _CONTEXT = (32 * 1024, 256 * 1024), 256 * 1024


def _check(config: Config) -> Iterator[str]:
    context = config.integer("max_position_embeddings")
    if config.section("rope_parameters").has("alpha") and context not in _CONTEXTS:
        why = f"the converter knows models with alpha of {_CONTEXTS} tokens alone{OTHER_METHODS}"
        raise config.unfit("max_position_embeddings", why)
    yield from windows.everywhere(config)


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    if not config.section("rope_parameters").has("alpha"):
        return {}
    return {
        "hunyuan-dense.context_length": values.u32(_CONTEXT),
        "hunyuan-dense.rope.scaling.type": values.string("none"),
        "hunyuan-dense.rope.scaling.factor": values.f32(1.0),
        "hunyuan-dense.rope.scaling.original_context_length": values.u32(_CONTEXT),
    }


ARCHITECTURE = Architecture(
    name="hunyuan-dense",
    hf_names=("HunYuanDenseV1ForCausalLM",),
    fields={
        **BASE,
        **dict.fromkeys(
            (
                *("add_classification_head", "attention_head_dim", "class_num", "dense_list"),
                *("enable_lm_head_fp32", "im_end_id", "im_newline_id", "im_start_id"),
                *("mask_init_id", "org_vocab_size", "pool_type", "text_end_id", "text_start_id"),
                "use_rotary_pos_emb",
            ),
            Field(),
        ),
        "model_type": Constant("hunyuan_v1_dense"),
        "head_dim": Whole(),
        "rms_norm_eps": Positive(1e-5),
        "eod_token_id": Field(3),
        "attention_bias": Only(False, why="llama.cpp loads no bias of o_proj here"),
        "mlp_bias": Only(False, why="transformers has no biases in the feed-forward network"),
        "use_qk_norm": Only(True, why="transformers has these norms whatever a file says"),
        "use_cla": Only(False, why="transformers shares no keys and values between layers here"),
        "norm_type": Only("rms", why="transformers has no other norm here"),
    },
    rope=Scalings(kinds=("default", "linear", "dynamic", "yarn"), alpha=True),
    check=_check,
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
        "self_attn.query_layernorm.weight": Spec(("head_dim",)),
        "self_attn.key_layernorm.weight": Spec(("head_dim",)),
        "post_attention_layernorm.weight": Spec(("hidden",)),
        "mlp.gate_proj.weight": Spec(("ffn", "hidden")),
        "mlp.up_proj.weight": Spec(("ffn", "hidden")),
        "mlp.down_proj.weight": Spec(("hidden", "ffn")),
    },
)
