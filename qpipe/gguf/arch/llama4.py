"""Llama 4, text alone: experts beside a shared one, attention within chunks in most layers.

Source: llama.cpp, conversion/llama.py (Llama4Model), src/models/llama4.cpp, which has the chunks,
the layers without RoPE and the sharpening of attention as Meta\'s models have them, whatever a file
says; transformers\' Llama4TextConfig for the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpipe.gguf import values
from qpipe.gguf.arch import llama, multimodal, views
from qpipe.gguf.arch.base import BASE, MAX_EXPERTS, Architecture, Part, Spec
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS, Constant, Field, Only, Positive, Whole
from qpipe.gguf.scalings import Scalings

_FIXED = "llama.cpp computes by this whatever a file says"
_WITHOUT_NORM = 128  # experts: src/models/llama4.cpp takes such a model for Maverick


def _sparse(config: Config, layer: int) -> bool:
    return (layer + 1) % config.integer("interleave_moe_layer_step") == 0


def _dense(config: Config, layer: int) -> bool:
    return not _sparse(config, layer)


def _check(config: Config) -> Iterator[str]:
    layers = range(config.integer("num_hidden_layers"))
    usual = {
        "moe_layers": [i for i in layers if _sparse(config, i)],
        "no_rope_layers": [int((i + 1) % 4 != 0) for i in layers],
        "layer_types": [
            "full_attention" if (i + 1) % 4 == 0 else "chunked_attention" for i in layers
        ],
    }
    for name, value in usual.items():
        if config.fields.get(name) not in (None, [], value):
            raise config.unfit(name, f"llama.cpp has other layers in mind{OTHER_METHODS}")
    if len(layers) < 4:
        why = f"llama.cpp runs no such model without a layer of full attention{OTHER_METHODS}"
        raise config.unfit("num_hidden_layers", why)
    normed = config.integer("num_local_experts") != _WITHOUT_NORM
    if config.flag("use_qk_norm") is not normed:
        why = f"llama.cpp norms q and k unless there are {_WITHOUT_NORM} experts{OTHER_METHODS}"
        raise config.unfit("use_qk_norm", why)
    yield from ()


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    return {
        "llama4.vocab_size": values.u32(dims.vocab),
        "llama4.rope.dimension_count": values.u32(dims.head_dim),
        "llama4.interleave_moe_layer_step": values.u32(config.integer("interleave_moe_layer_step")),
        "llama4.expert_feed_forward_length": values.u32(dims.size("expert")),
    }


_GATE_UP = ("experts", "expert", "hidden")

ARCHITECTURE = Architecture(
    name="llama4",
    hf_names=("Llama4ForConditionalGeneration", "Llama4ForCausalLM"),
    fields={
        **BASE,
        **multimodal.FIELDS,
        "model_type": Constant("llama4_text"),
        "intermediate_size": Whole(8192),
        "intermediate_size_mlp": Whole(16384),
        "num_key_value_heads": Whole(8, null=True),
        "head_dim": Whole(128, null=True),
        "rms_norm_eps": Positive(1e-5),
        "num_local_experts": Whole(16, most=MAX_EXPERTS),
        "num_experts": Whole(null=True, most=MAX_EXPERTS),
        "num_experts_per_tok": Only(1, why="transformers and llama.cpp weigh more of them unlike"),
        "moe_layers": Field(),
        "interleave_moe_layer_step": Whole(1),
        "use_qk_norm": Field(True),
        "no_rope_layers": Field(),
        "no_rope_layer_interval": Only(4, why=_FIXED),
        "attention_chunk_size": Only(8192, why=_FIXED),
        "attn_temperature_tuning": Only(True, 4, why=_FIXED),
        "floor_scale": Only(8192, 8192.0, why=_FIXED),
        "attn_scale": Only(0.1, why=_FIXED),
        "attention_bias": Only(False, why="llama.cpp loads no biases here"),
        "router_jitter_noise": Field(),
        "for_llm_compressor": Field(),
    },
    rope=Scalings(theta=500000.0, kinds=("default", "llama3")),
    check=_check,
    own_sizes=lambda config: {
        "expert": config.integer("intermediate_size"),
        "dense": config.integer("intermediate_size_mlp"),
        "expert2": 2 * config.integer("intermediate_size"),
    },
    feed_forward="dense",
    renamed=multimodal.renamed,
    left_out=multimodal.towers,
    expert_counts=("num_local_experts", "num_experts"),
    head_dim_default=True,
    after_file_type=_after_file_type,
    model=llama.ARCHITECTURE.model,
    layer={
        "input_layernorm.weight": Spec(("hidden",)),
        "self_attn.q_proj.weight": Spec(("q", "hidden")),
        "self_attn.k_proj.weight": Spec(("kv", "hidden")),
        "self_attn.v_proj.weight": Spec(("kv", "hidden")),
        "self_attn.o_proj.weight": Spec(("hidden", "q")),
        "post_attention_layernorm.weight": Spec(("hidden",)),
        "feed_forward.gate_proj.weight": Spec(("dense", "hidden"), layers=_dense),
        "feed_forward.up_proj.weight": Spec(("dense", "hidden"), layers=_dense),
        "feed_forward.down_proj.weight": Spec(("hidden", "dense"), layers=_dense),
        "feed_forward.router.weight": Spec(("experts", "hidden"), layers=_sparse),
        "feed_forward.shared_expert.gate_proj.weight": Spec(("expert", "hidden"), layers=_sparse),
        "feed_forward.shared_expert.up_proj.weight": Spec(("expert", "hidden"), layers=_sparse),
        "feed_forward.shared_expert.down_proj.weight": Spec(("hidden", "expert"), layers=_sparse),
        "feed_forward.experts.gate_up_proj": Spec(
            ("experts", "hidden", "expert2"),
            layers=_sparse,
            parts=(
                Part(
                    "ffn_gate_exps.weight", _GATE_UP, views.after(views.transposed, views.half(0))
                ),
                Part("ffn_up_exps.weight", _GATE_UP, views.after(views.transposed, views.half(1))),
            ),
        ),
        "feed_forward.experts.down_proj": Spec(
            ("experts", "expert", "hidden"),
            layers=_sparse,
            parts=(
                Part("ffn_down_exps.weight", ("experts", "hidden", "expert"), views.transposed),
            ),
        ),
    },
)
