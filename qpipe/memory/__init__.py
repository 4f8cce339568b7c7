"""Memory at run time: what a model takes when it runs, by part, from config.json or a GGUF header.

No weight is read and no runtime is started. The geometry of a model is that of the GGUF metadata
which qpipe writes of its config.json, so that every family that converts is covered.
"""

from __future__ import annotations

from qpipe.memory.estimate import geometry, memory
from qpipe.memory.geometry import Geometry, LayerGeometry
from qpipe.memory.parts import LayerMemory, MemoryParts, RunMemory
from qpipe.memory.setting import CACHE_TYPES, RUNTIMES, RunSetting
from qpipe.memory.weights import Weights

__all__ = [
    "CACHE_TYPES",
    "RUNTIMES",
    "Geometry",
    "LayerGeometry",
    "LayerMemory",
    "MemoryParts",
    "RunMemory",
    "RunSetting",
    "Weights",
    "geometry",
    "memory",
]
