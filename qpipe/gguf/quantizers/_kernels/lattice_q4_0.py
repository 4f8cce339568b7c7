"""Q4_0 with the step of the lattice on which a block lies: levels -8 … 7."""

from __future__ import annotations

from qpipe.gguf.quantizers._kernels import lattice
from qpipe.gguf.quantizers._kernels.jit import Bytes, Floats, Kernel

_put = lattice.nibbles(shift=8, fifth_bit=False, minimum=False)
_refit = lattice.refit(lattice.symmetric(8), _put)


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`."""

    def lattice_q4_0(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        _refit(blocks, importance, out)

    return lattice_q4_0
