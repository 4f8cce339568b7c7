"""Q4_0: blocks of 32, levels -8 … 7, no minimum (ggml-quants.c, quantize_row_q4_0_ref)."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels.blocks import largest, nibbles
from qpipe.gguf.quantizers._kernels.jit import Bytes, Floats, Kernel, inner

_LOWEST, _ZERO = np.float32(-8), np.float32(0)


@inner
def _scale(x: Floats) -> tuple[np.float32, np.float32]:
    return largest(x) / _LOWEST, _ZERO


_quantize = nibbles(_scale, shift=8.5, top=15, fifth_bit=False, minimum=False)


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`."""

    def q4_0(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        _quantize(blocks, importance, out)

    return q4_0
