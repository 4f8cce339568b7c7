"""Q4_1 with step and minimum of the lattice on which a block lies: levels 0 … 15."""

from __future__ import annotations

from qpipe.gguf.quantizers._kernels import lattice, lattice_affine
from qpipe.gguf.quantizers._kernels.jit import Bytes, Floats, Kernel

_put = lattice.nibbles(shift=0, fifth_bit=False, minimum=True)
_refit = lattice.refit(lattice_affine.affine(15), _put)


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`."""

    def lattice_q4_1(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        _refit(blocks, importance, out)

    return lattice_q4_1
