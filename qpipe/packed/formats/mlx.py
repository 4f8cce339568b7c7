"""MLX, as mlx-lm writes it: for Apple's machines, and read by nothing else.

``weight`` U32 (rows, columns · bits / 32), ``scales`` (rows, groups) and, but for its micro-scaled
modes, ``biases`` (rows, groups). Single modules may have bits and groups of their own.
Source: mlx, python/mlx/nn/layers/quantized.py; mlx-lm, utils.py, ``quantize_model``.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpipe.errors import CheckpointError
from qpipe.packed.fields import Fields
from qpipe.packed.formats.base import (
    Packed,
    PackedFormat,
    Tensors,
    expect,
    group_label,
    groups,
    named,
    part,
)


class MlxFormat(PackedFormat):
    """Affine, and MXFP4, MXFP8 and NVFP4."""

    METHODS = ("mlx",)

    def label(self, config: Fields) -> str:
        """``MLX-4bit-g64``, as such models are named on the hub."""
        mode = config.text("mode", default="affine")
        kind = "" if mode == "affine" else f"-{mode.upper()}"
        return f"MLX{kind}-{config.bits()}bit-{group_label(config.group_size())}"

    def modules(self, tensors: Tensors, config: Fields) -> Iterator[Packed]:
        """Raises CheckpointError."""
        for name in named(tensors, "scales"):
            own = config.section(name) if isinstance(config.values.get(name), dict) else config
            yield _module(name, tensors, own, config)


def _module(name: str, tensors: Tensors, own: Fields, config: Fields) -> Packed:
    bits = own.bits() if own.has("bits") else config.bits()
    size = own.group_size() if own.has("group_size") else config.group_size()
    weights = part(tensors, name, "weight", ("U32",))
    if not weights.shape or weights.shape[-1] * 32 % bits or 0 in weights.shape:
        raise CheckpointError(f"{weights.origin} is {list(weights.shape)}, in {bits} bits")
    *first, words = weights.shape
    columns = words * 32 // bits
    why = f"a matrix of {' × '.join(map(str, (*first, columns)))} in {bits} bits"
    shared = (*first, groups(columns, size))
    scale = part(tensors, name, "scales", ("F16", "BF16", "F32", "U8"))
    expect(scale, shared, why)
    parts = [weights.name, scale.name]
    if f"{name}.biases" in tensors:
        expect(part(tensors, name, "biases", ("F16", "BF16", "F32")), shared, why)
        parts.append(f"{name}.biases")
    elif scale.dtype != "U8":
        part(tensors, name, "biases", ("F16", "BF16", "F32"))
    kind = f"MLX-{bits}bit-{group_label(size)}"
    return Packed(name, (*first, columns), kind, tuple(parts), bits, size)
