"""Calling a kernel of `_kernels`: by the name of its type, compiled or read from numba's cache."""

from __future__ import annotations

import importlib

import numpy as np

from qpipe.gguf.quantizers import Bytes, Floats
from qpipe.gguf.types import GGMLType


def quantize(rows: Floats, imatrix: Floats | None, kind: GGMLType, *, scales: slice) -> Bytes:
    """``rows`` as ``kind``, whose blocks keep numbers in half precision in the bytes ``scales``."""
    _, block, block_bytes = kind.value
    assert imatrix is None or imatrix.shape == rows.shape[1:], (imatrix.shape, rows.shape)
    out = run(kind.name.lower(), rows, imatrix, block=block, block_bytes=block_bytes)
    _check_scales(out[:, scales], rows, kind)
    return out.reshape(len(rows), kind.row_bytes(rows.shape[1]))


def _check_scales(scales: Bytes, rows: Floats, kind: GGMLType) -> None:
    """Refuse scales [blocks, 2 bytes each] that are infinite or NaN in half precision.

    `OverflowError`, as llama-quantize refuses them (ggml-quants.c, ggml_validate_row_data).
    """
    if ((scales[:, 1::2] & 0x7C) == 0x7C).any():
        worst = float(np.abs(rows).max())
        raise OverflowError(f"weights up to {worst:g} are too large for the scales of {kind.name}")


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
