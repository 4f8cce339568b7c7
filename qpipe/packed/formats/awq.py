"""AWQ as AutoAWQ writes it, in its versions GEMM, GEMV, GEMV_FAST and Marlin.

GEMM: ``qweight`` (columns, rows · bits / 32), ``qzeros`` (groups, rows · bits / 32), ``scales``
(groups, rows). GEMV: ``qweight`` (rows, columns · bits / 32), ``qzeros`` (rows, words) and
``scales`` (rows, words · 32 / bits), rows padded to whole words. GEMV_FAST: ``qweight`` I16
(rows / 4, columns), ``scales`` and ``qzeros``, which are floats, as GEMV's scales transposed.
Marlin: ``qweight`` (columns / 16, rows · 2), ``scales`` (groups, rows), and no zero points. Both
have four bits alone, and are for GPUs.
Source: AutoAWQ 0.2.9, awq/modules/linear/gemm.py, gemv.py, gemv_fast.py and marlin.py,
``from_linear`` and ``calculate_zeros_width``.
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


_LABELS = {"gemm": "", "gemv": "-GEMV", "gemv_fast": "-GEMV_FAST", "marlin": "-Marlin"}


class AwqFormat(PackedFormat):
    """All versions but IPEX's and ExLlama's, which are ways to compute GEMM."""

    METHODS = ("awq",)

    def unread(self, config: Fields) -> str | None:
        """Another version, such as the first of llm-awq."""
        return None if _version(config) in _LABELS else f"the version {_version(config)}"

    def label(self, config: Fields) -> str:
        """``AWQ-4bit-g128``; all but GEMM, the usual, are named."""
        version = _LABELS[_version(config)]
        return f"AWQ-{_bits(config)}bit-{group_label(_size(config))}{version}"

    def modules(self, tensors: Tensors, config: Fields) -> Iterator[Packed]:
        """Raises CheckpointError."""
        version = _version(config)
        read = {"gemm": _gemm, "gemv": _gemv, "gemv_fast": _gemv_fast, "marlin": _marlin}[version]
        suffixes = ("qweight", "scales") + (() if version == "marlin" else ("qzeros",))
        bits, size = _bits(config), _size(config)
        for name in named(tensors, "qweight"):
            shape = read(name, tensors, bits, size)
            parts = tuple(f"{name}.{suffix}" for suffix in suffixes)
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


def _gemv_fast(name: str, tensors: Tensors, bits: int, size: int) -> tuple[int, int]:
    _, quarter, columns = matrix(tensors, name, "qweight", ("I16",))
    rows = 4 * quarter
    why = f"a matrix of {rows} × {columns} in {bits} bits and groups of {size}"
    shared = (_zeros_width(columns, bits, size) * 32 // bits, rows)
    expect(part(tensors, name, "scales", _SCALES), shared, why)
    expect(part(tensors, name, "qzeros", _SCALES), shared, why)
    return rows, columns


def _marlin(name: str, tensors: Tensors, bits: int, size: int) -> tuple[int, int]:
    _, tiles, words = matrix(tensors, name, "qweight", ("I32",))
    rows, columns = words // 2, 16 * tiles
    why = f"a matrix of {rows} × {columns} in {bits} bits and groups of {size}"
    expect(part(tensors, name, "scales", _SCALES), (groups(columns, size), rows), why)
    return rows, columns


def _zeros_width(columns: int, bits: int, size: int) -> int:
    """Words of a row of zero points: padded for kernels that read several groups at once."""
    wide = {128: 1, 64: 2, 32: 4}.get(size if size != -1 else 128, 1)
    width = -(-groups(columns, size) // (32 // bits))
    return -(-width // wide) * wide
