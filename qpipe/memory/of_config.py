"""The geometry of a model from config.json's usual fields, where qpipe converts none of its class.

Source of the fields: transformers 5.17, models/*/configuration_*.py; of what is kept of them:
llama.cpp 0.6.0-dev, src/llama-hparams.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from qpipe.errors import CheckpointError
from qpipe.gguf.arch.base import MAX_LAYERS
from qpipe.gguf.config import Config
from qpipe.memory.geometry import Geometry, Kind, LayerGeometry
from qpipe.memory.linear_fields import STATES
from qpipe.memory.window_fields import layer_windows

_NAMES: Mapping[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model", "n_embed"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "multi_query_group_num", "n_head_kv"),
    "head_dim": ("head_dim", "attention_head_dim", "kv_channels"),
}
# Layers by their name in config.json's lists, in older words and in newer ones.
_STATES = ("linear_attention", "mamba", "mamba2", "linear", "M", "conv", "recurrent")
# Of those classes here the ones whose windows llama.cpp computes too (src/models/, swa_type).
_WINDOWED = (
    *("cohere2", "cohere2_moe", "exaone_moe", "afmoe", "smallthinker", "plamo3", "laguna"),
    *("mellum", "granite_swa", "muse_glimmer", "mimo_v2_flash", "step3p7"),
)
_NOTHING = ("mlp", "moe", "-", "E")
_NO_DECODERS = ("encoder_layers", "is_encoder_decoder")


def read(config: Config) -> Geometry:
    """The geometry of a model by its config.json. Raises CheckpointError that names the field
    which is missing."""
    text = config.text()
    if text.fields.get("is_encoder_decoder") is True or text.has("encoder_layers"):
        raise text.unfit(
            next(name for name in _NO_DECODERS if name in text.fields),
            "what an encoder and its decoder keep is not known here; give a decoder's config.json",
        )
    state = next((make for known, make in STATES if known(text)), None)
    kinds, windows = _kinds(text), layer_windows(text, integer(text, "layers"))
    if state is None and any(kind in _STATES for kind in kinds):
        raise CheckpointError(
            f"{config.path}: some of its layers keep a state in place of keys and values, and it "
            "names no sizes of it that are known (linear_key_head_dim, mamba_d_state, "
            "ssm_state_size, conv_L_cache, linear_attn_config): give a GGUF file of it"
        )
    computed = str(text.fields.get("model_type")) in _WINDOWED
    layers = [
        _layer(text, kind, window if computed else 0, state)
        for kind, window in zip(kinds, windows, strict=True)
    ]
    sizes = _sizes(text, layers)
    note = (
        "no class that qpipe converts: its memory is read from config.json's usual fields, and its "
        "intermediate results are rough"
    )
    vocabulary = text.integer("vocab_size")
    return Geometry(
        "", tuple(layers), vocabulary, integer(text, "hidden"), sizes, tuple(windows), (note,)
    )


def integer(text: Config, size: str, default: int | None = None) -> int:
    """A size by one of the names that configs have for it."""
    name = next((n for n in _NAMES[size] if text.has(n)), _NAMES[size][0])
    return text.integer(name, default, most=MAX_LAYERS if size == "layers" else 1 << 31)


def kv_heads(text: Config) -> int:
    """The number of heads of keys and values."""
    heads = integer(text, "heads")
    if text.fields.get("multi_query") is True and not text.fields.get("new_decoder_architecture"):
        return 1  # Falcon 7B and GPTBigCode name no number
    return integer(text, "kv_heads", heads)


def _layer(
    text: Config, kind: str, window: int, state: Callable[[Config], LayerGeometry] | None
) -> LayerGeometry:
    if kind in _NOTHING:
        return LayerGeometry("none")
    if state is not None and kind in _STATES:
        return state(text)
    attention = _attention(text, window)
    if state is None or kind not in ("hybrid", "*+M"):
        return attention
    both = state(text)
    return LayerGeometry(
        "attention and state space",
        keys=attention.keys,
        values=attention.values,
        rolling=both.rolling,
        recurrent=both.recurrent,
    )


def _attention(text: Config, window: int) -> LayerGeometry:
    if text.has("kv_lora_rank"):
        keys = text.integer("kv_lora_rank") + text.integer("qk_rope_head_dim")
        indexer = text.integer("index_head_dim", 0, least=0)
        return LayerGeometry("latent attention", keys=keys, indexer=indexer)
    size = integer(text, "head_dim", integer(text, "hidden") // integer(text, "heads"))
    kept = kv_heads(text)
    if window:
        chunked = text.has("attention_chunk_size") and not text.has("sliding_window")
        kind: Kind = "chunked attention" if chunked else "sliding window"
        return LayerGeometry(kind, kept * size, kept * text.integer("v_head_dim", size), window)
    return LayerGeometry("full attention", kept * size, kept * text.integer("v_head_dim", size))


def _sizes(text: Config, layers: Sequence[LayerGeometry]) -> dict[str, int]:
    fields = {
        "feed_forward_length": ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"),
        "expert_feed_forward_length": ("moe_intermediate_size",),
        "expert_count": ("num_experts", "n_routed_experts", "num_local_experts"),
        "expert_used_count": ("num_experts_per_tok", "moe_topk", "num_experts_per_token"),
        "context_length": ("max_position_embeddings", "n_positions", "max_sequence_length"),
    }
    named = {
        size: next((text.integer(n) for n in names if type(text.fields.get(n)) is int), 0)
        for size, names in fields.items()
    }
    sizes = {size: value for size, value in named.items() if value}
    sizes["embedding_length"] = integer(text, "hidden")
    if any(layer.keys for layer in layers):
        heads = integer(text, "heads")
        sizes["attention.head_count"] = heads
        size = integer(text, "head_dim", integer(text, "hidden") // heads)
        sizes["attention.key_length"] = size
        sizes["attention.value_length"] = text.integer("v_head_dim", size)
        sizes["attention.head_count_kv"] = kv_heads(text)
    if text.has("kv_lora_rank"):
        rank, rope = text.integer("kv_lora_rank"), text.integer("qk_rope_head_dim")
        sizes["attention.key_length_mla"] = text.integer("qk_nope_head_dim") + rope
        sizes["attention.value_length_mla"] = text.integer("v_head_dim")
        sizes |= {"attention.kv_lora_rank": rank, "attention.key_length": rank + rope}
    return sizes


def _kinds(text: Config) -> list[str]:
    """The kind of each layer, in config.json's own words."""
    depth = integer(text, "layers")
    model_type = str(text.fields.get("model_type"))
    if model_type in ("mamba", "mamba2", "falcon_mamba") or model_type.startswith("rwkv"):
        return ["linear_attention"] * depth
    if model_type == "falcon_h1":
        return ["hybrid"] * depth
    for field in ("layers_block_type", "layer_types", "hybrid_override_pattern", "attn_type_list"):
        if text.has(field):
            return _listed(text, field, depth)
    if text.has("attn_layer_period"):
        period, offset = (
            text.integer("attn_layer_period"),
            text.integer("attn_layer_offset", 0, least=0),
        )
        return ["attention" if i % period == offset else "mamba" for i in range(depth)]
    if text.has("attn_layer_indices"):
        full = text.fields["attn_layer_indices"]
        return ["attention" if i in full else "mamba" for i in range(depth)]
    if text.has("linear_attn_config"):
        full = text.section("linear_attn_config").fields.get("full_attn_layers") or ()
        return ["attention" if i + 1 in full else "linear_attention" for i in range(depth)]
    if text.has("full_attention_interval"):
        period = text.integer("full_attention_interval")
        return ["linear_attention" if (i + 1) % period else "attention" for i in range(depth)]
    return ["attention"] * depth


def _listed(text: Config, field: str, depth: int) -> list[str]:
    value = text.fields[field]
    listed = [str(item) for item in value] if isinstance(value, list | str) else []
    if field == "attn_type_list":  # MiniMax-Text-01: 0 is linear
        listed = ["attention" if item == "1" else "linear_attention" for item in listed]
    if len(listed) != depth:
        raise text.bad(field, f"a kind for each of {depth} layers")
    return listed
