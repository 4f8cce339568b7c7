"""torchao, as transformers saves it in safetensors.

A module has ``_weight_qdata`` (rows, columns), I8 or F8_E4M3, and ``_weight_scale`` (rows, 1), for
the matrix (1, 1), or (rows, groups); where ranges may be asymmetric ``_weight_zero_point`` of the
same shape. IntxWeightOnlyConfig stores its 1 to 8 bits a weight in a byte each. NVFP4 and MXFP4
have two numbers a byte, U8 (rows, columns / 2), MXFP8 a byte each; their scales, F8_E4M3 a group of
16 or F8_E8M0 a group of 32, lie in the order of NVIDIA's matrix units, rows filled up to 128 and
groups to 4; NVFP4 has ``_weight_per_tensor_scale`` too. FqnToConfig gives modules their own.
Source: torchao 0.18, quantization/quantize_/workflows: int8/int8_tensor.py, float8/float8_tensor.py
and intx/intx_unpacked_to_int8_tensor.py; prototype/mx_formats/nvfp4_tensor.py and mx_tensor.py;
quantization/quant_api.py, ``FqnToConfig``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from qpipe.errors import CheckpointError
from qpipe.packed.fields import Fields
from qpipe.packed.formats import scaled
from qpipe.packed.formats.base import (
    Packed,
    PackedFormat,
    Tensors,
    expect,
    group_label,
    matrix,
    named,
    part,
)
from qpipe.support.patterns import matches

# By the name of a config: what is left of its label.
_KINDS = {
    "Int8WeightOnlyConfig": "ao-W8A16",
    "Int8DynamicActivationInt8WeightConfig": "ao-W8A8",
    "Float8WeightOnlyConfig": "ao-FP8A16",
    "Float8DynamicActivationFloat8WeightConfig": "ao-FP8-dynamic",
    "IntxWeightOnlyConfig": "ao-W{}A16",
    "Int8DynamicActivationIntxWeightConfig": "ao-W{}A8",
    "NVFP4WeightOnlyConfig": "ao-NVFP4A16",
    "NVFP4DynamicActivationNVFP4WeightConfig": "ao-NVFP4",
    "MXDynamicActivationMXWeightConfig": "ao-MXFP{}",
}
_EACH = ("FqnToConfig", "ModuleFqnToConfig")
_MICRO = {"NVFP4": 16, "MX": 32}


class TorchAoFormat(PackedFormat):
    """Weights alone, or activations as they come too."""

    METHODS = ("torchao",)

    def unread(self, config: Fields) -> str | None:
        """A config whose tensors are stored otherwise; a string names a scheme of torchao 0.9 and
        before, which wrote no safetensors."""
        kinds = map(_kind, _schemes(config))
        return next((f"the scheme {kind}" for kind in kinds if kind not in _KINDS), None)

    def label(self, config: Fields) -> str:
        """``ao-W8A16``, ``ao-W8A8``, ``ao-FP8A16``, ``ao-W4A16-g32``, …; ``ao-mixed`` where modules
        differ."""
        labels = {*map(_label, _schemes(config))}
        return labels.pop() if len(labels) == 1 else "ao-mixed"

    def modules(self, tensors: Tensors, config: Fields) -> Iterator[Packed]:
        """Raises CheckpointError."""
        for name in named(tensors, "_weight_qdata"):
            scheme = _of_module(name, config)
            micro = next((size for k, size in _MICRO.items() if _kind(scheme).startswith(k)), None)
            if micro is not None:
                yield _micro(name, tensors, micro)
                if scheme.section("_data").flag("use_dynamic_per_tensor_scale"):
                    expect(part(tensors, name, "_weight_per_tensor_scale", ("F32",)), (), name)
            else:
                yield _module(name, tensors, _bits(scheme), _size(scheme))


def _schemes(config: Fields) -> list[Fields]:
    """The configs of all modules."""
    if isinstance(config.values.get("quant_type"), str):
        return [Fields(config.path, config.where, {"_type": config.text("quant_type")})]
    whole = config.section("quant_type").section("default")
    if whole.text("_type") not in _EACH:
        return [whole]
    return [scheme for _, scheme in _rules(whole) if scheme is not None]


def _rules(whole: Fields) -> Iterator[tuple[str, Fields | None]]:
    """Names of modules, ``re:`` with a regular expression, or ``_default``; None for what stays."""
    inside = whole.section("_data")
    field = "fqn_to_config" if inside.has("fqn_to_config") else "module_fqn_to_config"
    rules = inside.section(field)
    for key, value in rules.values.items():
        yield key, None if value is None else rules.section(key)


def _of_module(name: str, config: Fields) -> Fields:
    """A module's own config: by its name, by the first expression that matches all of it, else the
    one for all others."""
    whole = config.section("quant_type").section("default")
    if whole.text("_type") not in _EACH:
        return whole
    rules = {key: scheme for key, scheme in _rules(whole) if scheme is not None}
    for own in (name, f"{name}.weight"):
        if own in rules:
            return rules[own]
        for key, scheme in rules.items():
            if key.startswith("re:") and _matches(key.removeprefix("re:"), own, config):
                return scheme
    if "_default" not in rules:
        raise CheckpointError(f"{config.path}: says nothing of {name!r}, which is packed")
    return rules["_default"]


def _matches(pattern: str, name: str, config: Fields) -> bool:
    try:
        return matches(f"(?:{pattern})$", name)
    except ValueError as error:
        raise CheckpointError(
            f"{config.path}: {pattern!r:.80} is no usable regular expression ({error})"
        ) from None


def _kind(scheme: Fields) -> str:
    return scheme.text("_type")


def _label(scheme: Fields) -> str:
    bits = _bits(scheme)
    if _kind(scheme).startswith("MX"):
        inside = scheme.section("_data").section("weight_dtype")
        bits = 4 if "float4" in inside.text("_data", default="") else 8
    name, size = _KINDS[_kind(scheme)].format(bits), _size(scheme)
    return name if size == -1 else f"{name}-{group_label(size)}"


def _bits(scheme: Fields) -> int:
    """The bits that a weight takes of its byte: ``weight_dtype``, where the config has one."""
    inside = scheme.section("_data")
    if "Intx" not in _kind(scheme) or not inside.has("weight_dtype"):
        return 8
    dtype = inside.section("weight_dtype")
    match = re.fullmatch(r"u?int([1-8])", dtype.text("_data"))
    if match is None:
        raise dtype.bad("_data", "int1 to int8")
    return int(match[1])


def _size(scheme: Fields) -> int:
    if "Intx" not in _kind(scheme):
        return -1
    inside = scheme.section("_data")
    name = "granularity" if inside.has("granularity") else "weight_granularity"
    shared = inside.section(name)
    if shared.text("_type", default="PerGroup") != "PerGroup":
        return -1
    return shared.section("_data").group_size(default=32)


def _micro(name: str, tensors: Tensors, size: int) -> Packed:
    """Floats of four or eight bits with a scale for each ``size`` of them."""
    weights, rows, stored = matrix(tensors, name, "_weight_qdata", ("U8", "F8_E4M3"))
    half = weights.dtype == "U8"
    columns = 2 * stored if half else stored
    scale = part(tensors, name, "_weight_scale", ("F8_E4M3",) if size == 16 else ("F8_E8M0", "U8"))
    groups = -(-columns // size)
    filled = -(-rows // 128) * 128 * -(-groups // 4) * 4
    if math.prod(scale.shape) not in (rows * groups, filled):
        raise CheckpointError(
            f"{scale.origin} is {list(scale.shape)}, for a matrix of {rows} × {columns}"
        )
    kind = "NVFP4" if size == 16 else f"MXFP{4 if half else 8}"
    parts = tuple(key for key in tensors if key.startswith(f"{name}._weight_"))
    return Packed(name, (rows, columns), kind, parts, 4 if half else 8, size)


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
