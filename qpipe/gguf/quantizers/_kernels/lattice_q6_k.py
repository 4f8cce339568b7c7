"""Q6_K with the steps of the lattices on which a superblock lies: levels -32 … 31."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels import lattice_superblock
from qpipe.gguf.quantizers._kernels.blocks import BLOCK, put_half
from qpipe.gguf.quantizers._kernels.jit import Bytes, Floats, Kernel, inner

_ZERO = 32


@inner
def _put(levels: Floats, scales: Floats, d: np.float32, out: Bytes) -> None:
    for half in range(2):
        for i in range(BLOCK):
            at = half * 128 + i
            a, b = np.int32(levels[at]) + _ZERO, np.int32(levels[at + 32]) + _ZERO
            c, e = np.int32(levels[at + 64]) + _ZERO, np.int32(levels[at + 96]) + _ZERO
            out[half * 64 + i] = np.uint8(a & 15 | (c & 15) << 4)
            out[half * 64 + BLOCK + i] = np.uint8(b & 15 | (e & 15) << 4)
            upper = a >> 4 | b >> 4 << 2 | c >> 4 << 4 | e >> 4 << 6
            out[128 + half * BLOCK + i] = np.uint8(upper)
    for sub in range(lattice_superblock.SUBS):
        for part in range(2):
            out[192 + 2 * sub + part] = np.uint8(np.int32(scales[sub]) & 0xFF)
    put_half(d, out, 208)


_refit = lattice_superblock.refit(32, 127, _put)


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`."""

    def lattice_q6_k(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        _refit(blocks, importance, out)

    return lattice_q6_k
