"""The numbers that codes of four and eight bits stand for, by code.

Source: OCP 8-bit Floating Point Specification 1.0 (E4M3, E5M2); OCP Microscaling Formats 1.0 (E2M1,
E8M0). The latter two in ggml's order too (ggml-common.h, kvalues_mxfp4, there doubled).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Table = npt.NDArray[np.float32]


def _float8(mantissa_bits: int) -> Table:
    """A sign, an exponent, and a mantissa below; the largest exponent is a number too."""
    codes = np.arange(256)
    bias = 2 ** (6 - mantissa_bits) - 1
    exponent = (codes & 127) >> mantissa_bits
    mantissa = (codes & (2**mantissa_bits - 1)) / 2**mantissa_bits
    size = np.where(
        exponent == 0, mantissa * 2.0 ** (1 - bias), (1 + mantissa) * 2.0 ** (exponent - bias)
    )
    return np.where(codes >= 128, -size, size).astype(np.float32)


def _e4m3() -> Table:
    values = _float8(3)
    values[[0x7F, 0xFF]] = np.nan
    return values


def _e5m2() -> Table:
    values = _float8(2)
    codes = np.arange(256)
    values[(codes & 0x7C) == 0x7C] = np.nan
    values[[0x7C, 0xFC]] = np.inf, -np.inf
    return values


def _e8m0() -> Table:
    values = np.full(256, np.nan, np.float32)
    values[:255] = np.exp2(np.arange(255) - 127.0)
    return values


def _e2m1() -> Table:
    sizes = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
    return np.array([*sizes, *(-size for size in sizes)], np.float32)


E4M3, E5M2, E8M0, E2M1 = _e4m3(), _e5m2(), _e8m0(), _e2m1()
PAIRS: npt.NDArray[np.float64] = np.stack([np.tile(E2M1, 16), np.repeat(E2M1, 16)], axis=-1).view(
    np.float64
)[:, 0]
"""By byte, two numbers of E2M1, the first in the lower half; to be viewed as float32."""
