"""Eight scales and eight minima of six bits each, in twelve bytes: Q4_K and Q5_K.

Source: ggml-quants.c, quantize_row_q4_K_ref, quantize_row_q4_K_impl and get_scale_min_k4.
"""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels import affine, positive
from qpipe.gguf.quantizers._kernels.jit import LANES, Bytes, Floats, inner
from qpipe.gguf.quantizers._kernels.rounding import halve, nearest

SUBS = 8
TOP = np.float32(63)
_ZERO = np.float32(0)


@inner
def _rounded(values: Floats, levels: Floats) -> np.float32:
    """The largest of ``values`` over 63, and each as a multiple of that, as a uint8 at most 63."""
    largest = _ZERO
    for value in values:
        largest = value if value > largest else largest
    inverse = TOP / largest if largest > _ZERO else _ZERO
    for i in range(SUBS):
        level = np.float32(np.int64(nearest(inverse * values[i])) & 0xFF)
        levels[i] = level if level < TOP else TOP
    return largest / TOP


@inner
def _pack(scales: Floats, minima: Floats, out: Bytes) -> None:
    for j in range(4):
        out[j] = np.int64(scales[j])
        out[j + 4] = np.int64(minima[j])
    for j in range(4, 8):
        scale, minimum = np.int64(scales[j]), np.int64(minima[j])
        out[j + 4] = (scale & 15) | ((minimum & 15) << 4)
        out[j - 4] |= (scale >> 4) << 6
        out[j] |= (minimum >> 4) << 6


@inner
def _unpack(packed: Bytes, j: int) -> tuple[int, int]:
    if j < 4:
        return packed[j] & 63, packed[j + 4] & 63
    scale = (packed[j + 4] & 15) | ((packed[j - 4] >> 6) << 4)
    return scale, (packed[j + 4] >> 4) | ((packed[j] >> 6) << 4)


@inner
def write(
    s: Floats, count: int, weighted: bool, clamped: bool, out: Bytes, d: Floats, minimum: Floats
) -> None:
    """The first 16 bytes of each of ``count`` superblocks; scale and minimum that each lane reads.

    ``s`` is the state of the affine search; ``clamped`` tells Q5_K from Q4_K, which alone writes
    levels above 63 as they are. Lanes without a superblock get zeros.
    """
    scales = np.empty(SUBS, np.float32)
    minima = np.empty(SUBS, np.float32)
    positive_minima = np.empty(SUBS, np.float32)
    d[:] = _ZERO
    minimum[:] = _ZERO
    for block in range(count):
        lane = block * SUBS
        sub_scales = s[affine.SCALE + lane : affine.SCALE + lane + SUBS]
        for j in range(SUBS):
            positive_minima[j] = -s[affine.MIN + lane + j]
        if weighted:
            weights = s[affine.SUM_W + lane : affine.SUM_W + lane + SUBS]
            step = positive.fit(sub_scales, weights, TOP, scales)
            step_minimum = positive.fit(positive_minima, weights, TOP, minima)
            if clamped:
                for j in range(SUBS):
                    scales[j] = min(scales[j], TOP)
                    minima[j] = min(minima[j], TOP)
        else:
            step = _rounded(sub_scales, scales)
            step_minimum = _rounded(positive_minima, minima)
        written = out[block]
        step = halve(step, written, 0)
        step_minimum = halve(step_minimum, written, 2)
        _pack(scales, minima, written[4:16])
        for j in range(SUBS):
            scale, low = _unpack(written[4:16], j)
            d[lane + j] = step * np.float32(scale)
            minimum[lane + j] = step_minimum * np.float32(low)


assert LANES % SUBS == 0
