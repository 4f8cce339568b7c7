"""compressed-tensors, which llm-compressor writes and vLLM reads first of all.

``pack-quantized``: ``weight_packed`` (rows, words) with 32 // bits values in each word of a row,
``weight_scale`` (rows, groups), ``weight_shape`` (2), and where there are zero points
``weight_zero_point`` (words of rows, groups). ``int-quantized``: ``weight`` I8 (rows, columns) and
``weight_scale`` (rows, groups).
Source: compressed_tensors, compressors/pack_quantized and naive_quantized.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

from qpipe.errors import CheckpointError
from qpipe.packed.formats.base import (
    Format,
    Packed,
    Tensors,
    content,
    expect,
    group_label,
    groups,
    named,
    part,
)

_SCALES = ("F16", "BF16", "F32")


class Compressed(Format):
    """Integers, packed or not."""

    METHODS = ("compressed-tensors",)

    def label(self, config: Mapping[str, Any]) -> str:
        """``W4A16-g128`` or ``W8A8``, as vLLM's documentation names schemes."""
        first, *others = (_label(group) for group in config["config_groups"].values())
        return first + ("-mixed" if any(other != first for other in others) else "")

    def tool(self, config: Mapping[str, Any]) -> str | None:
        """The library's version; llm-compressor does not name itself."""
        version = config.get("version")
        return f"compressed-tensors {version}" if version else super().tool(config)

    def modules(self, tensors: Tensors, config: Mapping[str, Any]) -> Iterator[Packed]:
        """Raises CheckpointError."""
        for name in named(tensors, "weight_packed"):
            yield _packed(name, tensors)
        for name in named(tensors, "weight_scale"):
            if f"{name}.weight" in tensors:
                yield _integers(name, tensors)


def _label(group: Mapping[str, Any]) -> str:
    weights, activations = group["weights"], group.get("input_activations")
    size = weights.get("group_size") or -1
    suffix = "" if size == -1 else f"-{group_label(size)}"
    return f"W{weights['num_bits']}A{activations['num_bits'] if activations else 16}{suffix}"


def _packed(name: str, tensors: Tensors) -> Packed:
    weights = part(tensors, name, "weight_packed", ("I32",))
    stated = part(tensors, name, "weight_shape", ("I64",))
    expect(stated, (2,), "the shape of a matrix")
    rows, columns = struct.unpack("<2q", content(stated))
    scale = part(tensors, name, "weight_scale", _SCALES)
    if weights.shape[0] != rows or scale.shape[0] != rows or columns < 1:
        raise CheckpointError(
            f"{weights.origin} is {list(weights.shape)} and its scales {list(scale.shape)}, for a "
            f"matrix of {rows} × {columns}"
        )
    bits = next((b for b in (2, 4, 8) if -(-columns // (32 // b)) == weights.shape[1]), None)
    if bits is None:
        raise CheckpointError(
            f"{weights.origin}: {weights.shape[1]} words do not hold {columns} values of 2, 4 or 8 "
            "bits"
        )
    count = scale.shape[1]
    size = -1 if count == 1 else columns // count
    why = f"a matrix of {rows} × {columns} in {bits} bits and groups of {size}"
    expect(scale, (rows, groups(columns, size)), why)
    parts = [f"{name}.{suffix}" for suffix in ("weight_packed", "weight_shape", "weight_scale")]
    if f"{name}.weight_zero_point" in tensors:
        zeros = part(tensors, name, "weight_zero_point", ("I32",))
        expect(zeros, (-(-rows // (32 // bits)), count), why)
        parts.append(zeros.name)
    if f"{name}.weight_g_idx" in tensors:
        expect(part(tensors, name, "weight_g_idx", ("I32",)), (columns,), why)
        parts.append(f"{name}.weight_g_idx")
    kind = f"INT{bits}-{group_label(size)}"
    return Packed(name, (rows, columns), kind, tuple(parts), bits, size)


def _integers(name: str, tensors: Tensors) -> Packed:
    weights = part(tensors, name, "weight", ("I8",))
    rows, columns = weights.shape
    scale = part(tensors, name, "weight_scale", _SCALES)
    if scale.shape[0] != rows or len(scale.shape) != 2 or columns % scale.shape[1]:
        raise CheckpointError(
            f"{scale.origin} is {list(scale.shape)}, for a matrix of {rows} × {columns}"
        )
    parts = [weights.name, scale.name]
    if f"{name}.weight_zero_point" in tensors:
        parts.append(f"{name}.weight_zero_point")
    size = -1 if scale.shape[1] == 1 else columns // scale.shape[1]
    return Packed(name, (rows, columns), "INT8", tuple(parts), 8, size)
