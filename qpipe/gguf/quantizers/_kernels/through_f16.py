"""Floats rounded to half precision and read back, one weight at a time."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels.jit import Bytes, Floats, Kernel
from qpipe.gguf.quantizers._kernels.rounding import from_half, to_half


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`."""

    def through_f16(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        floats = out.view(np.float32)
        for i in range(blocks.size):
            floats[i, 0] = from_half(to_half(blocks[i]))

    return through_f16
