"""Intermediate results: what llama.cpp reserves for computing a batch, in bytes."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from qpipe.memory import mixing_alone, others, receptance
from qpipe.memory.altup import AltUpGraphs
from qpipe.memory.geometry import Geometry
from qpipe.memory.graph import LayerGraphs
from qpipe.memory.layer_inputs import WIDTH, LayerInputGraphs
from qpipe.memory.mixing_alone import MixingGraphs
from qpipe.memory.receptance import ReceptanceGraphs
from qpipe.memory.setting import RunSetting

_FEW = 1 << 24  # bytes of logits that fit into any hole


def compute_bytes(geometry: Geometry, setting: RunSetting) -> int:
    """Bytes of the buffer that llama.cpp's graph fits into, or what another runtime needs."""
    if setting.runtime != "llama.cpp":
        return others.compute_bytes(geometry, setting)
    setting = replace(setting, layers_offloaded=None, gpu_memory=None)  # the graph is the same
    logits = 4 * setting.n_outputs * geometry.vocabulary
    halves = "f32" in (setting.kv_k, setting.kv_v)
    if not setting.flash or halves or logits > _FEW:
        return _reserved(geometry, setting)
    # Of all tensors the masks alone grow with the context then, and stay where they are.
    shorter = replace(setting, context=min(setting.context, setting.ubatch))
    return _reserved(geometry, shorter) + _masks(geometry, setting) - _masks(geometry, shorter)


@lru_cache(maxsize=1024)
def _reserved(geometry: Geometry, setting: RunSetting) -> int:
    return _graphs(geometry)(geometry, setting).bytes()


def _graphs(geometry: Geometry) -> type[LayerGraphs]:
    """The class that builds a model's graph."""
    if geometry.arch == "gemma3n":
        return AltUpGraphs
    if geometry.arch in mixing_alone.ARCHS:
        return MixingGraphs
    if geometry.arch in receptance.ARCHS:
        return ReceptanceGraphs
    return LayerInputGraphs if geometry.sizes.get(WIDTH) else LayerGraphs


def host_bytes(geometry: Geometry, setting: RunSetting) -> int:
    """Bytes on the host where a GPU computes all layers: a batch's inputs, and its embeddings."""
    if setting.runtime != "llama.cpp":
        return 0
    return LayerGraphs(geometry, setting).inputs_bytes()


def output_bytes(geometry: Geometry, setting: RunSetting) -> int:
    """Bytes of llama.cpp's output buffer, in which it hands logits out (output_reserve)."""
    if setting.runtime != "llama.cpp":
        return 0
    return 4 * geometry.vocabulary * max(setting.sequences, setting.outputs or 0)


def _masks(geometry: Geometry, setting: RunSetting) -> int:
    return sum(LayerGraphs(geometry, setting).masks().values())
