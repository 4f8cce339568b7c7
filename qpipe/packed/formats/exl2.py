"""EXL2 as exllamav2 writes it: every module in groups of rows, each group in bits of its own.

``q_invperm`` (columns of the matrix), ``q_weight`` (words, rows of the matrix, padded to 32),
``q_groups`` (two numbers a group: bits and first word), ``q_scale`` (groups, padded rows / 8),
``q_scale_max`` (groups). Source: exllamav2 0.3.2, conversion/adaptivegptq.py, ``pack``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from qpipe.errors import CheckpointError
from qpipe.gguf.safetensors import StoredTensor
from qpipe.packed.fields import Fields
from qpipe.packed.formats.base import (
    Packed,
    PackedFormat,
    Tensors,
    content,
    expect,
    matrix,
    named,
    part,
)

_BITS = (2, 3, 4, 5, 6, 8)
_PADDED = 32


class Exl2Format(PackedFormat):
    """The average of bits is the config's; modules differ."""

    METHODS = ("exl2",)

    def label(self, config: Fields) -> str:
        """``EXL2-4.0bpw-h6``."""
        bits = config.number("bits", least=1, most=16)
        return f"EXL2-{bits}bpw-h{config.integer('head_bits', least=1, most=16)}"

    def modules(self, tensors: Tensors, config: Fields) -> Iterator[Packed]:
        """Raises CheckpointError."""
        for name in named(tensors, "q_weight"):
            yield _module(name, tensors)


def _module(name: str, tensors: Tensors) -> Packed:
    weights, words, padded = matrix(tensors, name, "q_weight", ("I32",))
    order = part(tensors, name, "q_invperm", ("I32",))
    columns = math.prod(order.shape)
    expect(order, (max(columns, 1),), f"a matrix of {padded} padded rows")
    numbers = part(tensors, name, "q_groups", ("I16",))
    groups = math.prod(numbers.shape) // 2
    why = f"a matrix of {columns} columns and {padded} padded rows in {groups} groups"
    expect(numbers, (2 * groups,), why)
    expect(part(tensors, name, "q_scale", ("I32",)), (groups, padded // 8), why)
    expect(part(tensors, name, "q_scale_max", ("F16",)), (groups,), why)
    kinds = _bits(numbers, words)
    bias = tensors.get(f"{name}.bias", weights)
    rows = bias.shape[0] if len(bias.shape) == 1 else padded
    suffixes = ("q_weight", "q_invperm", "q_groups", "q_scale", "q_scale_max")
    return Packed(
        name,
        (rows, columns),
        f"EXL2-{'/'.join(map(str, sorted(set(kinds))))}bit",
        tuple(f"{name}.{suffix}" for suffix in suffixes),
        bits=words * 32 / columns,
        group_size=None,
        padded_to=_PADDED if rows == padded else 1,
    )


def _bits(numbers: StoredTensor, words: int) -> list[int]:
    """The bits of each group; the first words must rise and stay within the packed ones."""
    values = struct.unpack(f"<{numbers.shape[0]}H", content(numbers))
    bits, first = list(values[::2]), list(values[1::2])
    rising = first[:1] == [0] and first == sorted(first) and first[-1] < words
    if not rising or any(width not in _BITS for width in bits):
        raise CheckpointError(
            f"{numbers.origin} has groups of {sorted(set(bits))} bits that begin at {first[:3]}…, "
            f"in {words} words: it was not written whole; quantize again"
        )
    return bits
