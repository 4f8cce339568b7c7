"""Gemma 4, text alone: layers of full attention have larger heads; some share keys and values, some
models have embeddings for each layer, some experts beside the dense network.

Source: llama.cpp, conversion/gemma.py (Gemma4Model), src/models/gemma4.cpp; transformers'
Gemma4TextConfig for the defaults. transformers saves the larger heads in per_layer_config, the
published files have global_head_dim and num_global_key_value_heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from qpipe.gguf import values, windows
from qpipe.gguf.arch import gemma2, multimodal
from qpipe.gguf.arch.base import MAX_EXPERTS, Architecture, Spec, Vector
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS, Constant, Field, Flag, Only, Positive, Whole
from qpipe.gguf.scalings import Scalings

_PERIOD = 6  # of layers, of which the last attends to all, where layer_types is missing
_NEVER = 1e30  # divides the frequency of columns that RoPE leaves as they are
_OF_FULL = ("head_dim", "num_key_value_heads")


def _kinds(config: Config) -> list[str]:
    kinds = windows.layers(config) or windows.alternating(config, _PERIOD)
    return [*kinds[:-1], windows.FULL]


def _is_full(config: Config, layer: int) -> bool:
    return _kinds(config)[layer] == windows.FULL


def _shares(config: Config, layer: int) -> bool:
    """True for a layer that takes keys and values of one before it."""
    count = config.integer("num_hidden_layers")
    return layer >= count - config.integer("num_kv_shared_layers", least=0)


def _has_own(config: Config, layer: int) -> bool:
    return not _shares(config, layer)


def _has_values(config: Config, layer: int) -> bool:
    """False where keys are the values."""
    return not (config.flag("attention_k_eq_v") and _is_full(config, layer))


def _may_have_values(config: Config, layer: int) -> bool:
    return _shares(config, layer) and _has_values(config, layer)


def _has_own_values(config: Config, layer: int) -> bool:
    return _has_own(config, layer) and _has_values(config, layer)


def _has_layer_embeddings(config: Config, layer: int = 0) -> bool:
    return (
        config.has("hidden_size_per_layer_input")
        and config.integer("hidden_size_per_layer_input", least=0) > 0
    )


def _sparse(config: Config, layer: int) -> bool:
    return config.flag("enable_moe_block")


def _of_full(config: Config) -> Mapping[str, Any]:
    """The sizes that layers of full attention have beside the others."""
    given = config.fields.get("per_layer_config")
    if given is not None:
        return {"head_dim": config.integer("head_dim")} | dict(next(iter(given.values()), {}))
    heads = {"head_dim": config.integer("global_head_dim", 512)}
    if config.flag("attention_k_eq_v") and config.has("num_global_key_value_heads"):
        heads["num_key_value_heads"] = config.integer("num_global_key_value_heads")
    return heads


def _layer_dims(config: Config, dims: Dims, layer: int) -> Dims:
    if config.flag("use_double_wide_mlp") and _shares(config, layer):
        dims = replace(dims, ffn=2 * dims.ffn)
    if not _is_full(config, layer):
        return dims
    of_full = _of_full(config)
    kv_heads = of_full.get("num_key_value_heads", dims.kv_heads)
    return replace(dims, head_dim=of_full["head_dim"], kv_heads=kv_heads)


def check_sharing(config: Config, kinds: list[str]) -> None:
    """Refuse layers that share keys and values with others than llama.cpp takes them from: the
    last of full attention before them, and the last with a window before that (src/llama-model.cpp,
    create_memory)."""
    shared = config.integer("num_kv_shared_layers", least=0)
    if shared and kinds[: len(kinds) - shared][-2:] != [windows.SLIDING, windows.FULL]:
        why = "llama.cpp shares keys and values of a layer with a window, and a full one after it"
        raise config.unfit("num_kv_shared_layers", f"{why}{OTHER_METHODS}")


def _check(config: Config) -> Iterator[str]:
    given = config.fields.get("per_layer_config")
    if given:
        full = {str(i) for i, kind in enumerate(_kinds(config)) if kind == windows.FULL}
        usual = (
            isinstance(given, dict)
            and {str(key).lstrip("0") or "0" for key in given} == full  # "05" of ten and more
            and all(isinstance(v, dict) and not set(v) - set(_OF_FULL) for v in given.values())
            and len({repr(v) for v in given.values()}) == 1
        )
        if not usual or not all(type(n) is int and n > 0 for n in _of_full(config).values()):
            why = f"llama.cpp has all layers of full attention alike, by their heads{OTHER_METHODS}"
            raise config.unfit("per_layer_config", why)
    check_sharing(config, _kinds(config))
    if config.flag("enable_moe_block"):
        config.integer("num_experts", most=MAX_EXPERTS)
        config.integer("top_k_experts")
        config.integer("moe_intermediate_size")
    yield from ()


def _own_sizes(config: Config) -> Mapping[str, int]:
    layers = config.integer("num_hidden_layers")
    by_layer = config.integer("hidden_size_per_layer_input", 0, least=0)
    return {
        "by_layer": by_layer,
        "by_layers": by_layer * layers,
        "layer_vocab": config.integer("vocab_size_per_layer_input"),
    }


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    # Without the key llama.cpp caps at 30 (src/llama-hparams.h), which is what 0 says not to do.
    cap = 0.0
    if config.has("final_logit_softcapping"):
        cap = config.positive("final_logit_softcapping")
    fields = {"final_logit_softcapping": values.f32(cap)}
    full, layers = _of_full(config), range(dims.layers)
    head_dim = values.u32(full["head_dim"])
    kinds = _kinds(config)
    shared = config.integer("num_kv_shared_layers", least=0)
    fields |= {
        "attention.sliding_window": values.u32(config.integer("sliding_window")),
        "attention.shared_kv_layers": values.u32(shared),
        "embedding_length_per_layer_input": values.u32(dims.size("by_layer")),
        "attention.sliding_window_pattern": values.booleans(
            [kind == windows.SLIDING for kind in kinds]
        ),
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "attention.key_length_swa": values.u32(dims.head_dim),
        "attention.value_length_swa": values.u32(dims.head_dim),
    }
    if dims.experts:
        fields["expert_feed_forward_length"] = values.u32(dims.expert_ffn)
    if config.flag("use_double_wide_mlp"):
        widths = [_layer_dims(config, dims, i).ffn for i in layers]
        fields["feed_forward_length"] = values.i32s(widths)
    if "num_key_value_heads" in full:
        heads = [_layer_dims(config, dims, i).kv_heads for i in layers]
        fields["attention.head_count_kv"] = values.i32s(heads)
    fields["rope.dimension_count"] = head_dim
    fields["rope.dimension_count_swa"] = values.u32(dims.head_dim)
    return {f"gemma4.{key}": value for key, value in fields.items()}


def _frequencies(config: Config, dims: Dims) -> Mapping[str, Vector]:
    """The divisors of frequencies in layers of full attention: RoPE leaves most of them."""
    full = config.section("rope_parameters").section("full_attention")
    head_dim = _of_full(config)["head_dim"]
    rotated = int(head_dim * full.positive("partial_rotary_factor") / 2)
    factors = np.full(head_dim // 2, _NEVER, np.float32)
    factors[:rotated] = 1
    return {"rope_freqs.weight": factors}


_NORM = Spec(("hidden",))

ARCHITECTURE = Architecture(
    name="gemma4",
    hf_names=("Gemma4ForCausalLM", "Gemma4ForConditionalGeneration"),
    fields={
        **gemma2.GEMMA,
        **multimodal.FIELDS,
        "model_type": Constant("gemma4_text"),
        "max_position_embeddings": Whole(131072),
        "tie_word_embeddings": Flag(True),
        "num_attention_heads": Whole(8),
        "hidden_activation": Only(
            "gelu_pytorch_tanh", why="llama.cpp computes GELU by its tanh form whatever a file says"
        ),
        "query_pre_attn_scalar": Field(),
        "sliding_window": Whole(512),
        "final_logit_softcapping": Positive(null=True),
        "attn_logit_softcapping": Only(None, why="llama.cpp caps no attention in Gemma 4"),
        "use_bidirectional_attention": Only(
            None, "vision", why="llama.cpp computes causal attention of text"
        ),
        "rope_parameters": Field(
            {
                "full_attention": {
                    "rope_type": "proportional",
                    "partial_rotary_factor": 0.25,
                    "rope_theta": 1e6,
                },
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            }
        ),
        "per_layer_config": Field(),
        "global_head_dim": Whole(null=True),
        "num_global_key_value_heads": Whole(null=True),
        "attention_k_eq_v": Flag(False),
        "num_kv_shared_layers": Whole(0, least=0),
        "vocab_size_per_layer_input": Whole(262144),
        "hidden_size_per_layer_input": Whole(256, least=0, null=True),
        "use_double_wide_mlp": Flag(False),
        "enable_moe_block": Flag(False),
        "num_experts": Whole(null=True, most=MAX_EXPERTS),
        "top_k_experts": Whole(null=True),
        "moe_intermediate_size": Whole(null=True),
    },
    rope=Scalings(theta=1e6, kinds=("proportional",), local=1e4, partial=0.25),
    check=_check,
    own_sizes=_own_sizes,
    layer_dims=_layer_dims,
    renamed=multimodal.renamed,
    left_out=multimodal.towers,
    expert_counts=("num_experts",),
    experts_used="top_k_experts",
    after_file_type=_after_file_type,
    after_vocabulary=gemma2.no_space_prefix,
    tensors=_frequencies,
    model={
        "model.embed_tokens.weight": Spec(("vocab", "hidden")),
        "model.norm.weight": _NORM,
        "lm_head.weight": Spec(("vocab", "hidden")),
        "model.embed_tokens_per_layer.weight": Spec(
            ("layer_vocab", "by_layers"),
            layers=_has_layer_embeddings,
            name="per_layer_token_embd.weight",
        ),
        "model.per_layer_model_projection.weight": Spec(
            ("by_layers", "hidden"),
            layers=_has_layer_embeddings,
            name="per_layer_model_proj.weight",
        ),
        "model.per_layer_projection_norm.weight": Spec(
            ("by_layer",), layers=_has_layer_embeddings, name="per_layer_proj_norm.weight"
        ),
    },
    layer={
        "input_layernorm.weight": _NORM,
        "self_attn.q_proj.weight": Spec(("q", "hidden")),
        "self_attn.q_norm.weight": Spec(("head_dim",)),
        "self_attn.o_proj.weight": Spec(("hidden", "q")),
        "self_attn.k_proj.weight": Spec(("kv", "hidden"), layers=_has_own, spare=_shares),
        "self_attn.k_norm.weight": Spec(("head_dim",), layers=_has_own, spare=_shares),
        "self_attn.v_proj.weight": Spec(
            ("kv", "hidden"), layers=_has_own_values, spare=_may_have_values
        ),
        "post_attention_layernorm.weight": _NORM,
        "pre_feedforward_layernorm.weight": _NORM,
        "mlp.gate_proj.weight": Spec(("ffn", "hidden")),
        "mlp.up_proj.weight": Spec(("ffn", "hidden")),
        "mlp.down_proj.weight": Spec(("hidden", "ffn")),
        "post_feedforward_layernorm.weight": _NORM,
        "layer_scalar": Spec(("one",), name="layer_output_scale.weight"),
        "per_layer_input_gate.weight": Spec(
            ("by_layer", "hidden"), layers=_has_layer_embeddings, name="inp_gate.weight"
        ),
        "per_layer_projection.weight": Spec(
            ("hidden", "by_layer"), layers=_has_layer_embeddings, name="proj.weight"
        ),
        "post_per_layer_input_norm.weight": Spec(
            ("hidden",), layers=_has_layer_embeddings, name="post_norm.weight"
        ),
        "router.proj.weight": Spec(("experts", "hidden"), layers=_sparse),
        "router.scale": Spec(("hidden",), layers=_sparse, name="ffn_gate_inp.scale"),
        "router.per_expert_scale": Spec(("experts",), layers=_sparse, name="ffn_down_exps.scale"),
        "experts.gate_up_proj": Spec(
            ("experts", "expert_ffn2", "hidden"), layers=_sparse, name="ffn_gate_up_exps.weight"
        ),
        "experts.down_proj": Spec(
            ("experts", "hidden", "expert_ffn"), layers=_sparse, name="ffn_down_exps.weight"
        ),
        "post_feedforward_layernorm_1.weight": Spec(("hidden",), layers=_sparse),
        "post_feedforward_layernorm_2.weight": Spec(("hidden",), layers=_sparse),
        "pre_feedforward_layernorm_2.weight": Spec(("hidden",), layers=_sparse),
    },
)
