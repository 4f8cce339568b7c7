"""Q4_K with the steps of the lattices on which a superblock lies: levels -8 … 7."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels import lattice_superblock
from qpipe.gguf.quantizers._kernels.blocks import BLOCK
from qpipe.gguf.quantizers._kernels.jit import Bytes, Floats, Kernel, inner

_ZERO = 8


@inner
def _put(levels: Floats, scales: Floats, d: np.float32, out: Bytes) -> None:
    lattice_superblock.put_scales(scales, d, _ZERO, out)
    for pair in range(4):
        for i in range(BLOCK):
            low = np.int32(levels[pair * 64 + i]) + _ZERO
            high = np.int32(levels[pair * 64 + BLOCK + i]) + _ZERO
            out[16 + pair * BLOCK + i] = np.uint8(low | high << 4)


_refit = lattice_superblock.refit(8, 63, _put)


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`."""

    def lattice_q4_k(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        _refit(blocks, importance, out)

    return lattice_q4_k
