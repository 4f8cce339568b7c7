"""What the formats with blocks of 32 share: extremes of a block, and its levels as nibbles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qpipe.gguf.quantizers._kernels.jit import Bytes, Floats, Kernel, inner
from qpipe.gguf.quantizers._kernels.rounding import to_half

BLOCK = 32
_HALF = BLOCK // 2
_SIZE = np.int32(0x7FFFFFFF)
_ONE, _ZERO = np.float32(1), np.float32(0)

Scale = Callable[[Floats], tuple[np.float32, np.float32]]
"""A block → its step and the number that is level zero."""


@inner
def largest(x: Floats) -> np.float32:
    """The weight of the largest size, the first of several; +0 for a block of zeros."""
    bits = x.view(np.int32)
    # As integers the sizes of floats have the same order, and LLVM vectorizes their maximum.
    size = np.int32(0)
    for j in range(BLOCK):
        size = max(size, bits[j] & _SIZE)
    first = np.int32(BLOCK)
    for j in range(BLOCK):
        first = min(first, np.int32(j) if bits[j] & _SIZE == size else np.int32(BLOCK))
    return x[first] if size else _ZERO


@inner
def lowest(x: Floats) -> np.float32:
    """The lowest weight; of zeros of both signs the first."""
    low: np.float32 = x[0]
    for j in range(1, BLOCK):
        low = x[j] if x[j] < low else low
    return low


@inner
def highest(x: Floats) -> np.float32:
    """The highest weight."""
    high: np.float32 = x[0]
    for j in range(1, BLOCK):
        high = x[j] if x[j] > high else high
    return high


@inner
def inverse(step: np.float32) -> np.float32:
    """1 / step, and 0 for a step of 0."""
    return _ONE / step if step != 0 else _ZERO


@inner
def put_half(value: np.float32, out: Bytes, at: int) -> None:
    """Write ``value`` in half precision to ``out[at:at + 2]``."""
    half = to_half(value)
    out[at] = half & 0xFF
    out[at + 1] = half >> 8


def packer(*, at: int, fifth_bit: bool) -> Callable[[Bytes, Bytes], None]:
    """A function (levels, block) that packs 32 levels into a block from byte ``at`` on.

    The fifth bits of the levels (with ``fifth_bit``), then 16 bytes of lower nibbles, levels 16
    apart sharing one.
    """
    at_nibbles = at + (4 if fifth_bit else 0)

    @inner
    def pack(levels: Bytes, row: Bytes) -> None:
        if fifth_bit:
            bits = np.uint32(0)
            for j in range(BLOCK):
                bits |= np.uint32(levels[j] >> 4 & 1) << np.uint32(j)
            for j in range(4):
                row[at + j] = bits >> np.uint32(8 * j) & np.uint32(0xFF)
        for j in range(_HALF):
            row[at_nibbles + j] = levels[j] & 15 | (levels[j + _HALF] & 15) << 4

    return pack


def nibbles(scale: Scale, *, shift: float, top: int, fifth_bit: bool, minimum: bool) -> Kernel:
    """The body of a kernel: (x - zero) / step + ``shift``, cut to an integer of at most ``top``.

    A block is its step (and zero, with ``minimum``) in half precision, and its levels (`packer`).
    """
    rounding, highest_level = np.float32(shift), np.int32(top)
    pack = packer(at=4 if minimum else 2, fifth_bit=fifth_bit)

    @inner
    def levels_of(x: Floats, zero: np.float32, iscale: np.float32, levels: Bytes) -> None:
        for j in range(BLOCK):
            scaled = (x[j] - zero) * iscale if minimum else x[j] * iscale
            # The C casts to int8_t, so what no integer can hold becomes 0 on x86.
            level = np.int32(scaled + rounding) << np.int32(24) >> np.int32(24)
            levels[j] = np.uint8(min(level, highest_level))

    @inner
    def quantize(blocks: Floats, importance: Floats, out: Bytes) -> None:
        levels = np.empty(BLOCK, np.uint8)
        for block in range(len(out)):
            x = blocks[block * BLOCK : (block + 1) * BLOCK]
            row = out[block]
            step, zero = scale(x)
            put_half(step, row, 0)
            if minimum:
                put_half(zero, row, 2)
            levels_of(x, zero, inverse(step), levels)
            pack(levels, row)

    return quantize
