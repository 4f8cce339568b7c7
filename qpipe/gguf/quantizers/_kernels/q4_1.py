"""Q4_1: blocks of 32, levels 0 … 15 above a minimum (ggml-quants.c, quantize_row_q4_1_ref)."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels.blocks import highest, lowest, nibbles
from qpipe.gguf.quantizers._kernels.jit import Bytes, Floats, Kernel, inner

_TOP = np.float32(15)


@inner
def _scale(x: Floats) -> tuple[np.float32, np.float32]:
    low = lowest(x)
    return (highest(x) - low) / _TOP, low


_quantize = nibbles(_scale, shift=0.5, top=15, fifth_bit=False, minimum=True)


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`."""

    def q4_1(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        _quantize(blocks, importance, out)

    return q4_1
