"""The levels that are written, once scales have been rounded: lanes of bytes."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels import affine
from qpipe.gguf.quantizers._kernels.jit import LANES, Bytes, Floats, inner
from qpipe.gguf.quantizers._kernels.rounding import nearest_level

_ZERO = np.float32(0)


@inner
def affine_codes(
    x: Floats, d: Floats, minimum: Floats, top: np.float32, s: Floats, guarded: bool, codes: Bytes
) -> None:
    """Levels of (x + minimum) / d; a sub-block whose d is zero keeps the levels of its search."""
    for i in range(0, x.size, LANES):
        xs = x[i : i + LANES]
        out = codes[i : i + LANES]
        for k in range(LANES):
            out[k] = np.uint8(np.int32(nearest_level((xs[k] + minimum[k]) / d[k], _ZERO, top)))
    for k in range(LANES):
        if d[k] == _ZERO:
            for i in range(k, x.size, LANES):
                value = s[affine.LEVEL_ISCALE + k] * (x[i] - s[affine.LEVEL_MIN + k])
                if guarded and s[affine.REFINED + k] > _ZERO:
                    level = affine.guarded_level(value, top)
                else:
                    level = nearest_level(value, _ZERO, top)
                codes[i] = np.uint8(np.int32(level))


@inner
def symmetric_codes(x: Floats, d: Floats, top: np.float32, s: Floats, codes: Bytes) -> None:
    """Levels of x / d plus ``top``; a sub-block whose d is zero keeps those of its search."""
    for i in range(0, x.size, LANES):
        xs = x[i : i + LANES]
        out = codes[i : i + LANES]
        for k in range(LANES):
            level = nearest_level(xs[k] / d[k], -top, top - np.float32(1))
            out[k] = np.uint8(np.int32(level + top))
    for k in range(LANES):
        if d[k] == _ZERO:
            for i in range(k, x.size, LANES):
                level = nearest_level(s[LANES + k] * x[i], -top, top - np.float32(1))
                codes[i] = np.uint8(np.int32(level + top)) if s[2 * LANES + k] > _ZERO else 0
