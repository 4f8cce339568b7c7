"""ggml's own quantizers, by ctypes from the shared object of the xllamacpp wheel.

Linux and macOS: there the wheel exports ggml.h's C functions. Only pointers and integers cross,
no struct, so any version that exports them will do.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qpipe import errors
from qpipe.gguf.types import GGMLType


@functools.cache
def _library() -> ctypes.CDLL:
    """The loaded library with its signatures set; `EngineMissingError` where there is none."""
    spec = importlib.util.find_spec("xllamacpp")
    folders = [Path(p) for p in (spec.submodule_search_locations or ())] if spec else []
    for path in (path for folder in folders for path in sorted(folder.glob("xllamacpp*.so"))):
        library = ctypes.CDLL(str(path))
        if not hasattr(library, "ggml_quantize_chunk"):
            continue
        library.ggml_quantize_init.argtypes = [ctypes.c_int]
        library.ggml_quantize_init.restype = None
        library.ggml_quantize_chunk.restype = ctypes.c_size_t
        library.ggml_quantize_chunk.argtypes = [
            ctypes.c_int,  # type
            ctypes.c_void_p,  # src
            ctypes.c_void_p,  # dst
            ctypes.c_int64,  # first element
            ctypes.c_int64,  # rows
            ctypes.c_int64,  # weights per row
            ctypes.c_void_p,  # importance matrix
        ]
        library.ggml_validate_row_data.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
        library.ggml_validate_row_data.restype = ctypes.c_bool
        return library
    raise errors.EngineMissingError(
        "ggml's quantizers are not usable here: the xllamacpp package is missing or exports no "
        "ggml_quantize_chunk (it does on Linux and macOS): install qpipe there, or choose types "
        "that qpipe writes itself"
    )


@functools.cache
def _initialized(kind: GGMLType) -> ctypes.CDLL:
    library = _library()
    library.ggml_quantize_init(kind.number)
    return library


# ggml 0.26.0, ggml.c, ggml_quantize_requires_imatrix: without one, the C code aborts the process.
NEED_IMATRIX = (GGMLType.IQ2_XXS, GGMLType.IQ2_XS, GGMLType.IQ1_S)


def quantize(
    rows: npt.NDArray[np.float32],
    kind: GGMLType,
    *,
    imatrix: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.uint8]:
    """``rows`` [rows, n_per_row] as ``kind`` [rows, bytes per row]; releases the GIL.

    Source: ggml.c, ggml_quantize_chunk. The rows and ``imatrix`` [n_per_row], the weights of the
    columns, must be finite: ggml aborts on NaN.
    """
    assert imatrix is not None or kind not in NEED_IMATRIX, kind
    source = np.ascontiguousarray(rows, np.float32)
    n_rows, n_per_row = source.shape
    weights = None if imatrix is None else np.ascontiguousarray(imatrix, np.float32)
    assert weights is None or weights.shape == (n_per_row,), (weights, source.shape)
    out = np.empty((n_rows, kind.row_bytes(n_per_row)), np.uint8)
    size = _initialized(kind).ggml_quantize_chunk(
        kind.number,
        source.ctypes.data,
        out.ctypes.data,
        0,
        n_rows,
        n_per_row,
        None if weights is None else weights.ctypes.data,
    )
    assert size == out.nbytes, (kind, size, out.nbytes)
    return out


def dequantize(
    data: npt.NDArray[np.uint8], kind: GGMLType, n_per_row: int
) -> npt.NDArray[np.float32]:
    """The weights [rows, n_per_row] that ``data`` [rows, bytes per row] of a quantized type stands
    for. Source: ggml-quants.c, dequantize_row_*."""
    source = np.ascontiguousarray(data)
    out = np.empty((len(source), n_per_row), np.float32)
    _dequantizer(kind)(source.ctypes.data, out.ctypes.data, out.size)
    return out


def dequantizes(kind: GGMLType) -> bool:
    """True if `dequantize` can be had here for a type."""
    try:
        return hasattr(_library(), _reader(kind))
    except errors.EngineMissingError:
        return False


@functools.cache
def _dequantizer(kind: GGMLType) -> Callable[[int, int, int], None]:
    function = _library()[_reader(kind)]
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    function.restype = None
    return function


def _reader(kind: GGMLType) -> str:
    """The name of ggml's function: it writes q4_K and q8_0, but iq4_xs and mxfp4."""
    name = re.sub(r"^(q\d_)k$", r"\1K", kind.name.lower())
    return f"dequantize_row_{name}"


def valid(data: npt.NDArray[np.uint8], kind: GGMLType) -> bool:
    """True if every scale in ``data`` is finite (ggml-quants.c, ggml_validate_row_data)."""
    contiguous = np.ascontiguousarray(data)
    is_valid = _library().ggml_validate_row_data(
        kind.number, contiguous.ctypes.data, contiguous.nbytes
    )
    return bool(is_valid)
