"""Bytes of tensors of packed checkpoints on the hub: (model, section ``quantize``, bytes), as
``total_size`` in their index says."""

from __future__ import annotations

from typing import Any

PACKED: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("openai/gpt-oss-20b", {"dtype": "source"}, 13761264768),
)
