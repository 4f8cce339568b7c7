"""How many bits a weight takes in a typical model: what is known of a level before its model is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from qpipe.gguf.hyperparameters import Hyperparameters
from qpipe.gguf.mixture import TypeRequest, forecast
from qpipe.gguf.types import GGMLType

# Llama 3.1 8B, from its config.json: layers, hidden size, that of the feed-forward, heads' keys.
_LAYERS, _HIDDEN, _FEED, _KEYS, _VOCABULARY = 32, 4096, 14336, 1024, 128256
_MODEL = Hyperparameters("llama", layers=_LAYERS, heads=32, kv_heads=8)
_OF_A_LAYER = {
    "attn_q": (_HIDDEN, _HIDDEN),
    "attn_k": (_KEYS, _HIDDEN),
    "attn_v": (_KEYS, _HIDDEN),
    "attn_output": (_HIDDEN, _HIDDEN),
    "ffn_gate": (_FEED, _HIDDEN),
    "ffn_up": (_FEED, _HIDDEN),
    "ffn_down": (_HIDDEN, _FEED),
}


@dataclass(frozen=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    type: GGMLType = GGMLType.F16


def bits(request: TypeRequest) -> float:
    """Bits per weight of Llama 3.1 8B's matrices. Raises RecipeError for what cannot be stored."""
    tensors = list(_tensors())
    types = forecast(tensors, _MODEL, request).types
    size = sum(types[tensor.name].tensor_bytes(tensor.shape) for tensor in tensors)
    return 8 * size / sum(math.prod(tensor.shape) for tensor in tensors)


def _tensors() -> Iterator[_Tensor]:
    yield _Tensor("token_embd.weight", (_VOCABULARY, _HIDDEN))
    for layer in range(_LAYERS):
        for name, shape in _OF_A_LAYER.items():
            yield _Tensor(f"blk.{layer}.{name}.weight", shape)
    yield _Tensor("output.weight", (_VOCABULARY, _HIDDEN))
