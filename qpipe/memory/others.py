"""Runtimes other than llama.cpp: what of a model each keeps, and what it computes with.

Caches are exact, by the sources below; what they compute with is a formula for one layer's largest
tensors, which nothing here has measured, and `NOTE` says so.
Source: transformers 5.17, cache_utils.py (DynamicCache, DynamicSlidingWindowLayer) and
models/deepseek_v3 (keys and values unfolded); vLLM, v1/kv_cache_interface.py (blocks of 16
tokens, MLA's latents as they are, max_memory_usage_bytes of windows); ExLlamaV2 0.3.2, cache.py
(every layer the whole context).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from qpipe.memory.geometry import Geometry, Kind, LayerGeometry
from qpipe.memory.setting import RunSetting, padded

NOTE = "intermediate results of {} are a formula's, and not measured"
_BLOCK = {"vllm": 16, "transformers": 1, "exllama": 256}
_CHUNK = 2048  # tokens that ExLlamaV2 reads at once (config.max_input_len)
_HALF, _F32 = 2, 4
# Bytes of a number of the last inputs and of the states of layers that keep these.
_STATES = {"vllm": (_HALF, _HALF), "transformers": (_HALF, _F32), "exllama": (_HALF, _F32)}


@lru_cache(maxsize=64)
def as_kept(model: Geometry, runtime: str) -> Geometry:
    """The geometry as the runtime keeps it: windows as config.json has them, and latent attention
    with its keys and values unfolded where it does not keep the latents alone."""
    windows = model.windows or tuple(layer.window for layer in model.layers)
    if runtime == "exllama":
        windows = (0,) * len(model.layers)
    layers = (
        _layer(model, layer, window, runtime)
        for layer, window in zip(model.layers, windows, strict=True)
    )
    return replace(model, layers=tuple(layers))


def _layer(model: Geometry, layer: LayerGeometry, window: int, runtime: str) -> LayerGeometry:
    if layer.kind == "latent attention" and runtime != "vllm":
        heads = model.sizes.get("attention.head_count", 0)
        key, value = (model.sizes.get(f"attention.{p}_length_mla", 0) for p in ("key", "value"))
        return replace(layer, keys=heads * key, values=heads * value, indexer=0)
    if layer.kind in ("full attention", "sliding window", "chunked attention"):
        chunked = layer.kind == "chunked attention"
        kind: Kind = "chunked attention" if chunked else "sliding window"
        return replace(layer, window=window, kind=kind if window else "full attention")
    return layer


def cells(layer: LayerGeometry, setting: RunSetting) -> int:
    """Tokens that a layer keeps of each sequence."""
    if not layer.keys:
        return 0
    block = _BLOCK[setting.runtime]
    if not layer.window:
        return padded(setting.context, block)
    if setting.runtime != "vllm":
        return min(setting.context, layer.window)
    if layer.kind == "chunked attention":
        return padded(min(setting.context, layer.window + setting.batch), block)
    # A window may begin within a block.
    return padded(min(setting.context, layer.window - 1 + setting.batch), block) + block


def state_bytes(layer: LayerGeometry, setting: RunSetting) -> int:
    """Bytes of a layer's states, of all sequences."""
    rolling, recurrent = _STATES[setting.runtime]
    return setting.sequences * (rolling * layer.rolling + recurrent * layer.recurrent)


def compute_bytes(model: Geometry, setting: RunSetting) -> int:
    """Bytes of a layer's largest tensors and of the logits, for the tokens of a step: transformers
    reads a prompt whole."""
    sizes = model.sizes
    tokens = {"vllm": setting.batch, "exllama": min(_CHUNK, setting.context)}.get(
        setting.runtime, setting.context * setting.sequences
    )
    width = sizes.get("feed_forward_length", 4 * model.hidden)
    if sizes.get("expert_count"):
        expert = sizes.get("expert_feed_forward_length") or width
        width = expert * sizes.get("expert_used_count", 1)
    numbers = tokens * (4 * model.hidden + 3 * width)
    scores = 0
    if not setting.flash:
        heads, context = sizes.get("attention.head_count", 0), setting.context
        scores = setting.sequences * heads * context * context * (_F32 + _HALF)
    return _HALF * numbers + scores + _F32 * setting.sequences * model.vocabulary
