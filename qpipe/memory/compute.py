"""Intermediate results: what llama.cpp reserves for computing a batch, in bytes."""

from __future__ import annotations

from qpipe.memory.geometry import Geometry
from qpipe.memory.setting import RunSetting

_F32 = 4


def compute_bytes(geometry: Geometry, setting: RunSetting) -> int:
    """Bytes of the largest set of intermediate results that live at once."""
    tokens, hidden = setting.n_ubatch, geometry.hidden
    heads = geometry.sizes.get("attention.head_count", 0)
    width = geometry.sizes.get("feed_forward_length", 4 * hidden)
    mask = setting.cells * tokens * (2 if setting.flash else _F32)
    scores = 0 if setting.flash else 2 * heads * setting.cells * tokens * _F32
    layer = tokens * _F32 * max(3 * hidden + 2 * width, 4 * hidden) + scores
    logits = setting.n_outputs * geometry.vocabulary * _F32 + 2 * tokens * hidden * _F32
    return mask + max(layer, logits)
