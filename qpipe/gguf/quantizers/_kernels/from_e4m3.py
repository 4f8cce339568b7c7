"""FP8 of the kind E4M3 as float32, times a scale, rounded to bfloat16 or not: branch-free, so that
LLVM vectorizes it."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels.jit import Bytes, Floats, Kernel

_SIZE, _SIGN = np.uint32(0x7F), np.uint32(0x80)
_SHIFT, _TO_SIGN = np.uint32(20), np.uint32(24)
_BIAS = np.uint32((127 - 7) << 23)
_SMALLEST_NORMAL = np.uint32(8)
_LOWEST, _TWO = np.float32(2.0**-7), np.float32(2)
_NAN = np.float32(np.nan)
_HALF, _ONE, _SIXTEEN = np.uint32(0x7FFF), np.uint32(1), np.uint32(16)
_UPPER, _ALL, _NONE = np.uint32(0xFFFF0000), np.uint32(0xFFFFFFFF), np.uint32(0)


def build(sources: str, weighted: bool) -> Kernel:
    """The kernel, to be compiled by `jit.kernel`. ``blocks`` are codes, four in the place of a
    float; ``importance`` the columns that share a scale, 1 if numbers are to be rounded, else 0,
    and the scales [rows, groups]; ``out`` [rows, 4 bytes a column]."""

    def from_e4m3(blocks: Floats, importance: Floats, out: Bytes) -> None:
        sources  # noqa: B018 - part of the key of numba's cache
        codes, numbers = blocks.view(np.uint8), out.reshape(-1).view(np.uint32)
        rows, columns = out.shape[0], out.shape[1] // 4
        wide, groups = int(importance[0]), (importance.size - 2) // rows
        kept, adding = (_UPPER, _ALL) if importance[1] != 0 else (_ALL, _NONE)
        for row in range(rows):
            for group in range(groups):
                scale = importance[2 + row * groups + group]
                first = row * columns + group * wide
                last = row * columns + min(columns, (group + 1) * wide)
                own, made = codes[first:last], numbers[first:last]
                for i in range(own.size):
                    code = np.uint32(own[i])
                    size = np.uint32(code & _SIZE)
                    normal = np.uint32((size << _SHIFT) + _BIAS).view(np.float32)
                    number = (normal - _LOWEST) * _TWO if size < _SMALLEST_NORMAL else normal
                    number = _NAN if size == _SIZE else number
                    product = np.float32(number * scale).view(np.uint32)
                    half = np.uint32(_HALF + (product >> _SIXTEEN & _ONE)) & adding
                    product = np.uint32(product + half) & kept
                    made[i] = product ^ np.uint32((code & _SIGN) << _TO_SIGN)

    return from_e4m3
