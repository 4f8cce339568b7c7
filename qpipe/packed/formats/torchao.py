"""torchao, as transformers saves it in safetensors.

A module has ``_weight_qdata`` (rows, columns), I8 or F8_E4M3, and ``_weight_scale`` (rows, 1), for
the matrix (1, 1), or (rows, groups); where ranges may be asymmetric ``_weight_zero_point`` of the
same shape. IntxWeightOnlyConfig stores its 1 to 8 bits a weight in a byte each.
Source: torchao 0.18, quantization/quantize_/workflows: int8/int8_tensor.py, float8/float8_tensor.py
and intx/intx_unpacked_to_int8_tensor.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from qpipe.errors import CheckpointError
from qpipe.packed.fields import Fields
from qpipe.packed.formats import scaled
from qpipe.packed.formats.base import (
    Packed,
    PackedFormat,
    Tensors,
    group_label,
    matrix,
    named,
    part,
)

# By the name of a config: what is left of its label.
_KINDS = {
    "Int8WeightOnlyConfig": "ao-W8A16",
    "Int8DynamicActivationInt8WeightConfig": "ao-W8A8",
    "Float8WeightOnlyConfig": "ao-FP8A16",
    "Float8DynamicActivationFloat8WeightConfig": "ao-FP8-dynamic",
    "IntxWeightOnlyConfig": "ao-W{}A16",
    "Int8DynamicActivationIntxWeightConfig": "ao-W{}A8",
}


class TorchAoFormat(PackedFormat):
    """Weights alone, or activations as they come too."""

    METHODS = ("torchao",)

    def unread(self, config: Fields) -> str | None:
        """A config whose tensors are stored otherwise; a string names a scheme of torchao 0.9 and
        before, which wrote no safetensors."""
        kind = _kind(config)
        return None if kind in _KINDS else f"the scheme {kind}"

    def label(self, config: Fields) -> str:
        """``ao-W8A16``, ``ao-W8A8``, ``ao-FP8A16``, ``ao-W4A16-g32``, …"""
        name = _KINDS[_kind(config)].format(_bits(config))
        size = _size(config)
        return name if size == -1 else f"{name}-{group_label(size)}"

    def modules(self, tensors: Tensors, config: Fields) -> Iterator[Packed]:
        """Raises CheckpointError."""
        for name in named(tensors, "_weight_qdata"):
            yield _module(name, tensors, _bits(config), _size(config))


def _scheme(config: Fields) -> Fields:
    return config.section("quant_type").section("default")


def _kind(config: Fields) -> str:
    if isinstance(config.values.get("quant_type"), str):
        return config.text("quant_type")
    return _scheme(config).text("_type")


def _bits(config: Fields) -> int:
    """The bits that a weight takes of its byte: ``weight_dtype``, where the config has one."""
    inside = _scheme(config).section("_data")
    if "Intx" not in _kind(config) or not inside.has("weight_dtype"):
        return 8
    dtype = inside.section("weight_dtype")
    match = re.fullmatch(r"u?int([1-8])", dtype.text("_data"))
    if match is None:
        raise dtype.bad("_data", "int1 to int8")
    return int(match[1])


def _size(config: Fields) -> int:
    if "Intx" not in _kind(config):
        return -1
    inside = _scheme(config).section("_data")
    name = "granularity" if inside.has("granularity") else "weight_granularity"
    shared = inside.section(name)
    if shared.text("_type", default="PerGroup") != "PerGroup":
        return -1
    return shared.section("_data").group_size(default=32)


def _module(name: str, tensors: Tensors, bits: int, size: int) -> Packed:
    weights, rows, columns = matrix(tensors, name, "_weight_qdata", ("I8", "F8_E4M3"))
    scale = part(tensors, name, "_weight_scale", ("F32", "BF16", "F16"))
    kind = "FP8" if weights.dtype == "F8_E4M3" else f"INT{bits}"
    count = scale.shape[1] if len(scale.shape) == 2 else 0
    if scale.shape == (1, 1) and rows > 1:
        own, kind = None, f"{kind}-tensor"
    else:
        own = scaled.of_groups(columns, count, [size])
        if own is None or scale.shape[0] != rows:
            raise CheckpointError(
                f"{scale.origin} is {list(scale.shape)}, for a matrix of {rows} × {columns}"
            )
        kind = kind if own == -1 else f"{kind}-{group_label(own)}"
    parts = tuple(key for key in tensors if key.startswith(f"{name}._weight_"))
    return Packed(name, (rows, columns), kind, parts, bits, own)
