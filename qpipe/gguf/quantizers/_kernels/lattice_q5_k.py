"""Q5_K with the steps of the lattices on which a superblock lies: levels -16 … 15."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels import lattice_superblock
from qpipe.gguf.quantizers._kernels.blocks import BLOCK
from qpipe.gguf.quantizers._kernels.jit import Bytes, Floats, Kernel, inner

_ZERO = 16


@inner
def _put(levels: Floats, scales: Floats, d: np.float32, out: Bytes) -> None:
    lattice_superblock.put_scales(scales, d, _ZERO, out)
    for i in range(BLOCK):
        out[16 + i] = 0
    for pair in range(4):
        for i in range(BLOCK):
            low = np.int32(levels[pair * 64 + i]) + _ZERO
            high = np.int32(levels[pair * 64 + BLOCK + i]) + _ZERO
            out[16 + i] |= np.uint8((low >> 4 | high >> 4 << 1) << 2 * pair)
            out[48 + pair * BLOCK + i] = np.uint8(low & 15 | (high & 15) << 4)


_refit = lattice_superblock.refit(16, 63, _put)


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`."""

    def lattice_q5_k(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        _refit(blocks, importance, out)

    return lattice_q5_k
