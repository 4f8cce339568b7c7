"""Floats rounded to half precision and read back, branch-free, so that LLVM vectorizes it."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels.jit import Bytes, Floats, Kernel

_SIZE, _SIGN = np.uint32(0x7FFFFFFF), np.uint32(0x80000000)
_LAST, _SHIFT, _ONE = np.uint32(0xFFF), np.uint32(13), np.uint32(1)
_KEPT = np.uint32(0xFFFFE000)
_SMALLEST_NORMAL = np.uint32(0x38800000)
_HALF = np.float32(0.5)


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`. Sizes of 65520 and more it gives as they are."""

    def through_f16(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        bits, rounded = blocks.view(np.uint32), out.reshape(-1).view(np.uint32)
        for i in range(blocks.size):
            size = np.uint32(bits[i] & _SIZE)
            normal = np.uint32((size + _LAST + (size >> _SHIFT & _ONE)) & _KEPT)
            # A subnormal: one unit is the last bit of a float in [0.5, 1).
            subnormal = np.float32(np.abs(blocks[i]) + _HALF - _HALF).view(np.uint32)
            half = subnormal if size < _SMALLEST_NORMAL else normal
            rounded[i] = half | (bits[i] & _SIGN)

    return through_f16
