"""Calling a kernel of `_kernels`: by the name of its type, compiled or read from numba's cache."""

from __future__ import annotations

import importlib

import numpy as np

from qpipe.gguf.quantizers import Bytes, Floats
from qpipe.gguf.quantizers._scales import check_scales
from qpipe.gguf.types import GGMLType


def quantize(rows: Floats, imatrix: Floats | None, kind: GGMLType, *, scales: slice) -> Bytes:
    """``rows`` as ``kind``, whose blocks keep numbers in half precision in the bytes ``scales``."""
    _, block, block_bytes = kind.value
    assert imatrix is None or imatrix.shape == rows.shape[1:], (imatrix.shape, rows.shape)
    out = run(kind.name.lower(), rows, imatrix, block=block, block_bytes=block_bytes)
    check_scales(out[:, scales], rows, kind)
    return out.reshape(len(rows), kind.row_bytes(rows.shape[1]))


def run(
    name: str, rows: Floats, imatrix: Floats | None = None, *, block: int, block_bytes: int
) -> Bytes:
    """Run the kernel ``name`` on ``rows`` and return uint8 [blocks, bytes per block]."""
    # numba is slow to import: only where it is needed.
    from qpipe.gguf.quantizers._kernels import jit

    module = importlib.import_module(f"{jit.__package__}.{name}")
    kernel = jit.kernel(module.build, weighted=imatrix is not None)
    out = np.empty((rows.size // block, block_bytes), np.uint8)
    importance = np.empty(0, np.float32) if imatrix is None else imatrix
    kernel(
        np.ascontiguousarray(rows, np.float32).reshape(-1),
        np.ascontiguousarray(importance, np.float32),
        out,
    )
    return out
