"""Levels into bytes, eight sub-blocks at once: eight bytes of codes are one 64-bit word.

Little endian, as numba's targets are: byte j of a word belongs to sub-block j.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qpipe.gguf.quantizers._kernels.jit import LANES, Bytes, inner

Words = npt.NDArray[np.uint64]

ROW = LANES // 8
"""Words per row of lanes."""

_U = np.uint64
_BIT = _U(0x0101010101010101)
_TWO_BITS = _U(0x0303030303030303)
_FOUR_BITS = _U(0x0F0F0F0F0F0F0F0F)
_FIRST_BITS = _U(0x0102040810204080)


@inner
def nibbles(word: np.uint64) -> np.uint64:
    """Bytes 0, 2, 4, 6: the level there in the lower half, that of the next byte in the upper."""
    lower = word & _FOUR_BITS
    return lower | (lower >> _U(4))


@inner
def first_bits(word: np.uint64) -> np.uint64:
    """The lowest bit of each byte; that of byte j as bit j."""
    return ((word & _BIT) * _FIRST_BITS) >> _U(56)


@inner
def pairs_of_bits(word: np.uint64) -> np.uint64:
    """The lowest two bits of bytes 0, 2, 4, 6 in byte 0, of bytes 1, 3, 5, 7 in byte 1."""
    pairs = word & _TWO_BITS
    return pairs | (pairs >> _U(14)) | (pairs >> _U(28)) | (pairs >> _U(42))


@inner
def single_bits(word: np.uint64) -> np.uint64:
    """The lowest bit of bytes 0, 2, 4, 6 in byte 0, of bytes 1, 3, 5, 7 in byte 1."""
    bits = word & _BIT
    return bits | (bits >> _U(15)) | (bits >> _U(30)) | (bits >> _U(45))


@inner
def pack_pairs_of_bits(words: Words, block: int, size: int, shift: np.uint64, out: Bytes) -> None:
    """Two bits of 256 levels, from bit ``shift``: levels 32 apart share a byte, per half of 128.

    For superblocks of 16 sub-blocks of ``size`` 16: Q2_K, Q3_K and the upper bits of Q6_K.
    """
    for half in range(2):
        for i in range(size):
            pairs = pairs_of_bits(words[i * ROW + block * 2 + half] >> shift)
            out[half * 32 + i] = np.uint8(pairs)
            out[half * 32 + size + i] = np.uint8(pairs >> _U(8))
