"""How many tokens a served model can keep beside its weights, from config.json.

The cache holds keys and values of each layer for each token: of as many heads as config.json says,
or of DeepSeek's latent attention one vector (arXiv 2405.04434, section 2.1.3). A layer with a
sliding window keeps no more than its window, a linear one the same for every length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qpipe.errors import CheckpointError
from qpipe.runtimes.overheads import known_bytes

# Bytes that are left where nothing more is known of a layer: its state does not grow with tokens.
_STATES = {"linear_attention", "conv", "mamba", "recurrent"}
_SLIDING = {"sliding_attention", "chunked_attention", "local_attention", "local"}
_CONTEXTS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")
# model_type, and which layer of how many attends to everything (transformers' own defaults).
_EVERY = {"gemma2": 2, "cohere2": 4, "gemma3": 6, "gemma3_text": 6}


@dataclass(frozen=True)
class KvCache:
    """Bytes of the cache of one sequence: ``full`` for each token, and ``window_bytes`` for each of
    at most ``window``."""

    full: int
    window_bytes: int
    window: int

    def __mul__(self, copies: int) -> KvCache:
        return KvCache(self.full * copies, self.window_bytes * copies, self.window)

    def of(self, tokens: int) -> int:
        """Return the bytes that so many tokens take."""
        return self.full * tokens + self.window_bytes * min(tokens, self.window)

    def most(self, room: int) -> int | None:
        """Return how many tokens there is room for, at most; None for a model without bound."""
        if self.of(self.window) > room:
            return max(room, 0) // (self.full + self.window_bytes)
        return (room - self.of(self.window)) // self.full + self.window if self.full else None


@dataclass(frozen=True)
class ServedLength:
    """Result: the tokens of ``--max-model-len``, ``cards`` that share the weights, and bytes.

    ``room`` is what is left of the memory for the cache of all sequences, on all cards; ``tokens``
    is 0 where not even one token fits.
    """

    tokens: int
    context: int | None
    cards: int
    room: int


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of config.json that is of text."""
    inside = config.get("text_config")
    return inside if isinstance(inside, dict) else config


def kv_cache(config: Mapping[str, Any], *, value_bytes: int) -> KvCache:
    """Return the cache of a model whose keys and values take so many bytes each.

    Raises CheckpointError where config.json does not say enough.
    """
    text = text_config(config)
    layers = _number(text, "num_hidden_layers", "n_layer")
    each = _values(text) * value_bytes
    kinds = _kinds(text, layers)
    window = text.get("sliding_window") or text.get("attention_chunk_size")
    window = window if isinstance(window, int) else 0
    sliding = sum(kind in _SLIDING for kind in kinds) if window else 0
    full = sum(kind not in _STATES for kind in kinds) - sliding
    return KvCache(full * each, sliding * each, window if sliding else 0)


def served_length(
    config: Mapping[str, Any],
    *,
    weights: int,
    memory: int,
    utilization: float,
    value_bytes: int = 2,
    cards: Sequence[int] = (1, 2, 4, 8),
) -> ServedLength:
    """Return the longest sequence that fits beside ``weights`` bytes, on as few cards as do.

    ``memory`` is that of one card in bytes, of which the server may take a part. No more than the
    model reads; for more than one card its heads must divide. Raises CheckpointError.
    """
    cache = kv_cache(config, value_bytes=value_bytes)
    context = _context(config)
    heads = _number(text_config(config), "num_attention_heads", "n_head")
    work = known_bytes("vllm", "gpu")
    last = ServedLength(0, context, 1, 0)
    for count in (one for one in cards if heads % one == 0):
        room = count * (int(memory * utilization) - work) - weights
        tokens = (cache * _copies(config, count)).most(max(room, 0))
        tokens = min(one for one in (tokens, context, 1 << 31) if one is not None)
        last = ServedLength(tokens, context, count, max(room, 0))
        if tokens >= min(context or 2048, 2048):
            return last
    return last


def _copies(config: Mapping[str, Any], cards: int) -> int:
    """Count the copies of the same keys and values on all cards: whole heads lie on a card."""
    text = text_config(config)
    latent = isinstance(text.get("kv_lora_rank"), int)
    return cards if latent else max(1, cards // _kv_heads(text))


def _kv_heads(text: Mapping[str, Any]) -> int:
    heads = text.get("num_key_value_heads")
    if text.get("multi_query") is True:
        return 1
    return (
        heads
        if isinstance(heads, int) and heads > 0
        else _number(text, "num_attention_heads", "n_head")
    )


def _values(text: Mapping[str, Any]) -> int:
    """Numbers of one token in one layer."""
    latent, rope = text.get("kv_lora_rank"), text.get("qk_rope_head_dim")
    if isinstance(latent, int) and isinstance(rope, int):
        return latent + rope
    heads = _number(text, "num_attention_heads", "n_head")
    size = text.get("head_dim")
    size = size if isinstance(size, int) else _number(text, "hidden_size", "n_embd") // heads
    return 2 * _kv_heads(text) * size


def _kinds(text: Mapping[str, Any], layers: int) -> list[str]:
    """The kind of each layer: ``full_attention``, or a word of `_SLIDING` or `_STATES`."""
    named = text.get("layer_types") or text.get("layers_block_type")
    if isinstance(named, list) and len(named) == layers:
        return [str(kind) for kind in named]
    if text.get("use_sliding_window") is False or not text.get("sliding_window"):
        return ["full_attention"] * layers
    every = text.get("sliding_window_pattern") or _EVERY.get(str(text.get("model_type")))
    if not isinstance(every, int):
        return ["sliding_attention"] * layers
    return ["sliding_attention" if (n + 1) % every else "full_attention" for n in range(layers)]


def _context(config: Mapping[str, Any]) -> int | None:
    text = text_config(config)
    values = [text.get(name) for name in _CONTEXTS]
    return next((value for value in values if isinstance(value, int) and value > 0), None)


def _number(text: Mapping[str, Any], *names: str) -> int:
    for name in names:
        value = text.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    raise CheckpointError(f"config.json: {names[0]} is missing, by which the KV cache is reckoned")
