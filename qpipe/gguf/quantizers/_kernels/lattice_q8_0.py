"""Q8_0 with the step of the lattice on which a block lies: levels -128 … 127."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels import lattice
from qpipe.gguf.quantizers._kernels.blocks import BLOCK, put_half
from qpipe.gguf.quantizers._kernels.jit import Bytes, Floats, Kernel, inner


@inner
def _put(levels: Floats, scale: Floats, out: Bytes) -> None:
    put_half(scale[0], out, 0)
    for j in range(BLOCK):
        out[2 + j] = np.uint8(np.int32(levels[j]) & 0xFF)


_refit = lattice.refit(lattice.symmetric(128), _put)


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`."""

    def lattice_q8_0(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        _refit(blocks, importance, out)

    return lattice_q8_0
