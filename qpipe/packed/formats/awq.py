"""AWQ as AutoAWQ writes it, in its versions GEMM and GEMV.

GEMM: ``qweight`` (columns, rows · bits / 32), ``qzeros`` (groups, rows · bits / 32), ``scales``
(groups, rows). GEMV: ``qweight`` (rows, columns · bits / 32), ``qzeros`` (rows, words) and
``scales`` (rows, words · 32 / bits), rows padded to whole words.
Source: AutoAWQ 0.2.9, awq/modules/linear/gemm.py and gemv.py, ``from_linear`` and
``calculate_zeros_width``.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpipe.packed.fields import Fields
from qpipe.packed.formats.base import (
    Packed,
    PackedFormat,
    Tensors,
    expect,
    group_label,
    groups,
    matrix,
    named,
    part,
)

_SCALES = ("F16", "BF16")


class AwqFormat(PackedFormat):
    """Both versions."""

    METHODS = ("awq",)

    def unread(self, config: Fields) -> str | None:
        """Another version, such as GEMV_FAST."""
        return None if _version(config) in ("gemm", "gemv") else f"the version {_version(config)}"

    def label(self, config: Fields) -> str:
        """``AWQ-4bit-g128``; GEMV is named, GEMM the usual."""
        version = "-GEMV" if _version(config) == "gemv" else ""
        return f"AWQ-{_bits(config)}bit-{group_label(_size(config))}{version}"

    def modules(self, tensors: Tensors, config: Fields) -> Iterator[Packed]:
        """Raises CheckpointError."""
        read = _gemv if _version(config) == "gemv" else _gemm
        bits, size = _bits(config), _size(config)
        for name in named(tensors, "qweight"):
            shape = read(name, tensors, bits, size)
            parts = tuple(f"{name}.{suffix}" for suffix in ("qweight", "scales", "qzeros"))
            yield Packed(name, shape, f"AWQ-{bits}bit-{group_label(size)}", parts, bits, size)


def _bits(config: Fields) -> int:
    return config.bits("bits", "w_bit")


def _size(config: Fields) -> int:
    return config.group_size("group_size", "q_group_size")


def _version(config: Fields) -> str:
    return config.text("version", "format", default="gemm").lower()


def _gemm(name: str, tensors: Tensors, bits: int, size: int) -> tuple[int, int]:
    _, columns, words = matrix(tensors, name, "qweight", ("I32",))
    rows, count = words * 32 // bits, groups(columns, size)
    why = f"a matrix of {rows} × {columns} in {bits} bits and groups of {size}"
    expect(part(tensors, name, "qzeros", ("I32",)), (count, words), why)
    expect(part(tensors, name, "scales", _SCALES), (count, rows), why)
    return rows, columns


def _gemv(name: str, tensors: Tensors, bits: int, size: int) -> tuple[int, int]:
    _, rows, words = matrix(tensors, name, "qweight", ("I32",))
    columns = words * 32 // bits
    width = _zeros_width(columns, bits, size)
    why = f"a matrix of {rows} × {columns} in {bits} bits and groups of {size}"
    expect(part(tensors, name, "qzeros", ("I32",)), (rows, width), why)
    expect(part(tensors, name, "scales", _SCALES), (rows, width * 32 // bits), why)
    return rows, columns


def _zeros_width(columns: int, bits: int, size: int) -> int:
    """Words of a row of zero points: padded for kernels that read several groups at once."""
    wide = {128: 1, 64: 2, 32: 4}.get(size if size != -1 else 128, 1)
    width = -(-groups(columns, size) // (32 // bits))
    return -(-width // wide) * wide
