"""AutoRound's own way: the layout of GPTQ, or AWQ's, and a ``quantization_config`` of its own.

Source: auto-round, auto_round/export/export_to_autoround/export.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from qpipe.packed.formats.awq import Awq
from qpipe.packed.formats.base import Format, Packed, Tensors, group_label
from qpipe.packed.formats.gptq import Gptq


class AutoRound(Format):
    """``packing_format`` says which; ``extra_config`` what single modules have of their own."""

    METHODS = ("auto-round",)

    def label(self, config: Mapping[str, Any]) -> str:
        """``AutoRound-4bit-g128``, whatever the layout."""
        return f"AutoRound-{config['bits']}bit-{group_label(config['group_size'])}"

    def modules(self, tensors: Tensors, config: Mapping[str, Any]) -> Iterator[Packed]:
        """Raises CheckpointError."""
        if "awq" in config["packing_format"]:
            return Awq().modules(tensors, {**config, "version": "gemm"})
        rules = {
            f"+:^{re.escape(name)}$": rule
            for name, rule in (config.get("extra_config") or {}).items()
        }
        return Gptq().modules(tensors, {**config, "dynamic": rules})
