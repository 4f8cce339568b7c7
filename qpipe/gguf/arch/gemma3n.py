"""Gemma 3n, text alone: four states side by side (AltUp), embeddings for each layer, layers that
share keys and values.

Source: llama.cpp, conversion/gemma.py (Gemma3NModel), src/models/gemma3n.cpp, which has most of its
sizes as constants; transformers' Gemma3nTextConfig for the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qpipe.gguf import values, windows
from qpipe.gguf.arch import gemma2, multimodal, views
from qpipe.gguf.arch.base import Architecture, Part, Spec
from qpipe.gguf.arch.dims import Dims
from qpipe.gguf.arch.views import Array
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import OTHER_METHODS, Constant, Field, Flag, Only, Positive, Whole
from qpipe.gguf.scalings import Scalings

_PERIOD = 5  # of layers, of which the last attends to all
_OWN_LAYERS = 20  # that share no keys and values
_SPARSE_LAYERS = 10
_SPARSITY = 0.95
# The quantile of the normal distribution at _SPARSITY in single precision, and that at none.
_SCALE, _NO_SCALE = 1.6448535919189453, float("-inf")
_FIXED = "llama.cpp computes by this whatever a file says"


def _kinds(config: Config) -> list[str]:
    return windows.layers(config) or windows.alternating(config, _PERIOD)


def _shares(config: Config, layer: int) -> bool:
    """True for a layer that takes keys and values of one before it, and has none in checkpoints
    that transformers saved."""
    return layer >= _OWN_LAYERS


def _has_own(config: Config, layer: int) -> bool:
    return not _shares(config, layer)


def _sparsity(config: Config) -> Sequence[float]:
    layers = config.integer("num_hidden_layers")
    given: Any = config.fields.get("activation_sparsity_pattern")
    if given is not None:
        return list(given) if isinstance(given, list) else [given] * layers
    sparse = _SPARSE_LAYERS if layers > _SPARSE_LAYERS else 0
    return [_SPARSITY] * sparse + [0.0] * (layers - sparse)


def _width(config: Config) -> int:
    """The width of the feed-forward network, given once or for each layer."""
    given: Any = config.fields.get("intermediate_size")
    if not isinstance(given, list):
        return config.integer("intermediate_size")
    if len(given) != config.integer("num_hidden_layers") or len(set(given)) != 1:
        why = f"llama.cpp has one width for all layers here{OTHER_METHODS}"
        raise config.unfit("intermediate_size", why)
    return Config(config.path, {"intermediate_size": given[0]}).integer("intermediate_size")


def _check(config: Config) -> Iterator[str]:
    layers = config.integer("num_hidden_layers")
    if _kinds(config) != windows.alternating(config, _PERIOD):
        why = f"llama.cpp gives each {_PERIOD}th layer no window, and the others one"
        raise config.unfit("layer_types", f"{why}{OTHER_METHODS}")
    if layers - config.integer("num_kv_shared_layers", least=0) != _OWN_LAYERS:
        why = f"llama.cpp shares keys and values in the layers after {_OWN_LAYERS} whatever it says"
        raise config.unfit("num_kv_shared_layers", f"{why}{OTHER_METHODS}")
    usual = [_SPARSITY] * _SPARSE_LAYERS + [0.0] * (layers - _SPARSE_LAYERS)
    if list(_sparsity(config)) != usual:
        why = f"llama.cpp has {_SPARSITY} in the first {_SPARSE_LAYERS} layers, and 0 in the others"
        raise config.unfit("activation_sparsity_pattern", f"{why}{OTHER_METHODS}")
    if config.integer("vocab_size_per_layer_input") > config.integer("vocab_size"):
        raise config.bad("vocab_size_per_layer_input", "at most vocab_size")
    yield from ()


def _own_sizes(config: Config) -> Mapping[str, int]:
    layers, by_layer = config.integer("num_hidden_layers"), 256
    inputs = config.integer("altup_num_inputs")
    return {
        "ffn": _width(config),
        "by_layer": by_layer,
        "by_layers": by_layer * layers,
        "layer_vocab": config.integer("vocab_size_per_layer_input"),
        "altup": inputs,
        "altup_squared": inputs**2,
        "altup_others": inputs - 1,
        "laurel": config.integer("laurel_rank"),
    }


def _padded(stored: Array, dims: Dims) -> Sequence[Array]:
    """Rows of nothing for the tokens of images and sound, which come from the towers."""
    return views.padded(stored, dims.vocab)


def _after_file_type(config: Config, dims: Dims) -> values.Metadata:
    cap = config.positive("final_logit_softcapping")
    shared = config.integer("num_kv_shared_layers", least=0)
    scales = [_SCALE if sparsity else _NO_SCALE for sparsity in _sparsity(config)]
    fields = {
        "final_logit_softcapping": values.f32(cap),
        "attention.sliding_window": values.u32(config.integer("sliding_window")),
        "altup.active_idx": values.u32(0),
        "altup.num_inputs": values.u32(dims.size("altup")),
        "embedding_length_per_layer_input": values.u32(dims.size("by_layer")),
        "attention.shared_kv_layers": values.u32(shared),
        "activation_sparsity_scale": values.f32s(scales),
        "attention.sliding_window_pattern": values.booleans(
            [kind == windows.SLIDING for kind in _kinds(config)]
        ),
    }
    fields["feed_forward_length"] = values.i32s([dims.size("ffn")] * dims.layers)
    return {f"gemma3n.{key}": value for key, value in fields.items()}


_NORM = Spec(("hidden",))

ARCHITECTURE = Architecture(
    name="gemma3n",
    hf_names=("Gemma3nForCausalLM", "Gemma3nForConditionalGeneration"),
    fields={
        **gemma2.GEMMA,
        **multimodal.FIELDS,
        "model_type": Constant("gemma3n_text"),
        "intermediate_size": Field(),
        "num_attention_heads": Whole(8),
        "num_key_value_heads": Whole(2),
        "max_position_embeddings": Whole(32768),
        "tie_word_embeddings": Flag(True),
        "query_pre_attn_scalar": Field(),
        "sliding_window": Whole(512),
        "rope_local_base_freq": Field(),
        "hidden_activation": Only(
            "gelu_pytorch_tanh", why="llama.cpp computes GELU by its tanh form whatever a file says"
        ),
        "final_logit_softcapping": Positive(30.0),
        "attn_logit_softcapping": Only(None, why="llama.cpp caps no attention in Gemma 3n"),
        "num_kv_shared_layers": Whole(15, least=0),
        "vocab_size_per_layer_input": Whole(262144),
        "hidden_size_per_layer_input": Only(256, why=_FIXED),
        "altup_active_idx": Only(0, why=_FIXED),
        "altup_coef_clip": Field(),
        "altup_correct_scale": Only(True, why=_FIXED),
        "altup_num_inputs": Only(4, why=_FIXED),
        "altup_lr_multiplier": Field(),
        "laurel_rank": Only(64, why=_FIXED),
        "activation_sparsity_pattern": Field(),
    },
    rope=Scalings(theta=1e6, kinds=("default",), local=1e4),
    check=_check,
    own_sizes=_own_sizes,
    renamed=multimodal.renamed,
    left_out=multimodal.towers,
    after_file_type=_after_file_type,
    after_vocabulary=gemma2.no_space_prefix,
    model={
        "model.embed_tokens.weight": Spec(("vocab", "hidden")),
        "model.norm.weight": _NORM,
        "lm_head.weight": Spec(("vocab", "hidden")),
        "model.embed_tokens_per_layer.weight": Spec(
            ("layer_vocab", "by_layers"),
            parts=(Part("per_layer_token_embd.weight", ("vocab", "by_layers"), _padded),),
        ),
        "model.per_layer_model_projection.weight": Spec(
            ("by_layers", "hidden"), name="per_layer_model_proj.weight"
        ),
        "model.per_layer_projection_norm.weight": Spec(
            ("by_layer",), name="per_layer_proj_norm.weight"
        ),
    },
    stacks={
        "model.altup_projections.{}.weight": (
            "altup_others",
            Spec(("hidden", "hidden"), name="altup_proj.weight"),
        ),
        "model.altup_unembed_projections.{}.weight": (
            "altup_others",
            Spec(("hidden", "hidden"), name="altup_unembd_proj.weight"),
        ),
    },
    layer={
        "input_layernorm.weight": _NORM,
        "self_attn.q_proj.weight": Spec(("q", "hidden")),
        "self_attn.k_proj.weight": Spec(
            ("kv", "hidden"), layers=_has_own, spare=_shares, zeros=True
        ),
        "self_attn.v_proj.weight": Spec(
            ("kv", "hidden"), layers=_has_own, spare=_shares, zeros=True
        ),
        "self_attn.o_proj.weight": Spec(("hidden", "q")),
        "self_attn.q_norm.weight": Spec(("head_dim",)),
        "self_attn.k_norm.weight": Spec(("head_dim",), layers=_has_own, spare=_shares, zeros=True),
        "post_attention_layernorm.weight": _NORM,
        "pre_feedforward_layernorm.weight": _NORM,
        "mlp.gate_proj.weight": Spec(("ffn", "hidden")),
        "mlp.up_proj.weight": Spec(("ffn", "hidden")),
        "mlp.down_proj.weight": Spec(("hidden", "ffn")),
        "post_feedforward_layernorm.weight": _NORM,
        "altup.correct_output_scale": Spec(("hidden",), name="altup_correct_scale.weight"),
        "altup.correction_coefs.weight": Spec(("altup", "altup")),
        "altup.prediction_coefs.weight": Spec(("altup_squared", "altup")),
        "altup.modality_router.weight": Spec(("altup", "hidden")),
        "altup.router_norm.weight": _NORM,
        "laurel.linear_left.weight": Spec(("laurel", "hidden")),
        "laurel.linear_right.weight": Spec(("hidden", "laurel")),
        "laurel.post_laurel_norm.weight": _NORM,
        "per_layer_input_gate.weight": Spec(("by_layer", "hidden"), name="inp_gate.weight"),
        "per_layer_projection.weight": Spec(("hidden", "by_layer"), name="proj.weight"),
        "post_per_layer_input_norm.weight": Spec(("hidden",), name="post_norm.weight"),
    },
)
