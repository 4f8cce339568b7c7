"""Sliding windows as config.json has them, for runtimes that compute them all.

Source: transformers 5.17, cache_utils.py (get_layer_types_and_kwargs) and models/*/configuration_*
.py (``layer_types`` where config.json has none).
"""

from __future__ import annotations

from qpipe.gguf.config import Config

_WINDOWED = ("sliding_attention", "chunked_attention")
# Every so many layers one attends to all, by model_type.
_PERIODS = {
    **dict.fromkeys(("gemma2", "gpt_oss"), 2),
    **dict.fromkeys(("cohere2", "olmo3", "llama4_text", "exaone4"), 4),
    **dict.fromkeys(("gemma3n_text",), 5),
    **dict.fromkeys(("gemma3", "gemma3_text", "gemma4_text"), 6),
}


def layer_windows(text: Config, depth: int) -> list[int]:
    """The window of each of ``depth`` layers in tokens, 0 where it attends to all."""
    field = "sliding_window" if text.has("sliding_window") else "attention_chunk_size"
    if not text.has(field) or text.fields.get("use_sliding_window") is False:
        return [0] * depth
    window = text.integer(field)
    kinds = text.fields.get("layer_types")
    if isinstance(kinds, list) and len(kinds) == depth:
        return [window if kind in _WINDOWED else 0 for kind in kinds]
    model_type = str(text.fields.get("model_type"))
    period = text.integer("sliding_window_pattern", _PERIODS.get(model_type, 0), least=0)
    if period:
        return [window if (i + 1) % period else 0 for i in range(depth)]
    first = 0
    if text.fields.get("use_sliding_window") is True:
        first = text.integer("max_window_layers", 0, least=0)  # Qwen2: the layers from there up
    return [window if i >= first else 0 for i in range(depth)]
