"""Q5_1: blocks of 32, levels 0 … 31 above a minimum (ggml-quants.c, quantize_row_q5_1_ref)."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels.blocks import highest, lowest, nibbles
from qpipe.gguf.quantizers._kernels.jit import Bytes, Floats, Kernel, inner

_TOP = np.float32(31)


@inner
def _scale(x: Floats) -> tuple[np.float32, np.float32]:
    low = lowest(x)
    return (highest(x) - low) / _TOP, low


_quantize = nibbles(_scale, shift=0.5, top=255, fifth_bit=True, minimum=True)


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`."""

    def q5_1(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        _quantize(blocks, importance, out)

    return q5_1
