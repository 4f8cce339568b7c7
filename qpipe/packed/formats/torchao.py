"""torchao's eight bits, as transformers saves it in safetensors.

A module has ``_weight_qdata`` I8 (rows, columns), ``_weight_scale`` (rows, 1) and for asymmetric
ranges ``_weight_zero_point`` I8 (rows, 1).
Source: torchao, quantization/quantize_/workflows/int8/int8_tensor.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qpipe.packed.formats.base import Format, Packed, Tensors, expect, named, part

_DYNAMIC = "Int8DynamicActivationInt8WeightConfig"


class TorchAo(Format):
    """Weights alone, or activations as they come too."""

    METHODS = ("torchao",)

    def label(self, config: Mapping[str, Any]) -> str:
        """``ao-W8A16`` or ``ao-W8A8``."""
        kind = config["quant_type"]["default"]["_type"]
        return "ao-W8A8" if kind == _DYNAMIC else "ao-W8A16"

    def modules(self, tensors: Tensors, config: Mapping[str, Any]) -> Iterator[Packed]:
        """Raises CheckpointError."""
        for name in named(tensors, "_weight_qdata"):
            weights = part(tensors, name, "_weight_qdata", ("I8",))
            scale = part(tensors, name, "_weight_scale", ("F32", "BF16", "F16"))
            expect(scale, (weights.shape[0], 1), "a scale for each row")
            parts = tuple(key for key in tensors if key.startswith(f"{name}._weight_"))
            yield Packed(name, weights.shape, "INT8", parts, 8, -1)
