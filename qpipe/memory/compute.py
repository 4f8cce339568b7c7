"""Intermediate results: what llama.cpp reserves for computing a batch, in bytes."""

from __future__ import annotations

from functools import lru_cache

from qpipe.memory.geometry import Geometry
from qpipe.memory.graph import LayerGraphs
from qpipe.memory.setting import RunSetting


@lru_cache(maxsize=512)
def compute_bytes(geometry: Geometry, setting: RunSetting) -> int:
    """Bytes of the buffer that llama.cpp's graph fits into."""
    return LayerGraphs(geometry, setting).bytes()
