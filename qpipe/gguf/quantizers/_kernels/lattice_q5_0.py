"""Q5_0 with the step of the lattice on which a block lies: levels -16 … 15."""

from __future__ import annotations

from qpipe.gguf.quantizers._kernels import lattice
from qpipe.gguf.quantizers._kernels.jit import Bytes, Floats, Kernel

_put = lattice.nibbles(shift=16, fifth_bit=True, minimum=False)
_refit = lattice.refit(lattice.symmetric(16), _put)


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`."""

    def lattice_q5_0(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        _refit(blocks, importance, out)

    return lattice_q5_0
