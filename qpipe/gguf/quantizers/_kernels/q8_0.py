"""Q8_0: blocks of 32, levels -127 … 127, no minimum (ggml-quants.c, quantize_row_q8_0_ref)."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels.blocks import BLOCK, inverse, largest, put_half
from qpipe.gguf.quantizers._kernels.jit import Bytes, Floats, Kernel, inner

_TOP, _HALF = np.float32(127), np.float32(0.5)
_UP, _DOWN, _STAY = np.float32(1), np.float32(-1), np.float32(0)


@inner
def _levels(x: Floats, iscale: np.float32, levels: Bytes) -> None:
    """Rounded to nearest, halves away from zero (C's roundf)."""
    for j in range(BLOCK):
        scaled = x[j] * iscale
        whole = np.float32(np.int32(scaled))
        rest = scaled - whole
        whole += _UP if rest >= _HALF else (_DOWN if rest <= -_HALF else _STAY)
        levels[j] = np.uint8(np.int32(whole) & 0xFF)


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`."""

    def q8_0(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        for block in range(len(out)):
            x = blocks[block * BLOCK : (block + 1) * BLOCK]
            step = np.abs(largest(x)) / _TOP
            put_half(step, out[block], 0)
            _levels(x, inverse(step), out[block][2:])

    return q8_0
