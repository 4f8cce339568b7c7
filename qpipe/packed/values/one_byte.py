"""A byte a weight, and scales for the matrix, each row, groups of a row or blocks; experts may lie
in one tensor.

Source: transformers 5.17, integrations/finegrained_fp8.py, `Fp8Dequantize`; compressed_tensors
0.19, compressors/naive_quantized and mxfp8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from qpipe.gguf.quantizers import _compiled
from qpipe.gguf.safetensors import StoredTensor
from qpipe.packed.values import tables
from qpipe.packed.values.base import (
    FloatArray,
    Strip,
    finite,
    floats,
    grid_rows,
    less,
    mapped,
    scaled,
)
from qpipe.packed.values.rounding import rounded

_TABLES = {"F8_E4M3": tables.E4M3, "F8_E5M2": tables.E5M2}


def read(part: Strip) -> FloatArray:
    """Rows of a matrix, or of experts as one matrix."""
    weights = part.tensors[part.module.parts[0]]
    codes = mapped(weights).reshape(-1, weights.shape[-1])[part.first : part.stop]
    if weights.dtype in _TABLES:
        numbers = np.take(_TABLES[weights.dtype], codes)
    else:
        numbers = codes.astype(np.float32)
    if part.has("weight_zero_point"):
        zeros, wide = _grid(part, part.tensors[f"{part.module.name}.weight_zero_point"], weights)
        numbers = less(numbers, zeros, wide)
    return scaled(numbers, *scales(part))


def scales(part: Strip) -> tuple[FloatArray, int]:
    """The scales of each of the rows, [n, groups], and the number of columns in a group. Raises
    CheckpointError for one that is no finite number."""
    weights, scale = (part.tensors[name] for name in part.module.parts[:2])
    grid, wide = _grid(part, scale, weights)
    return finite(scale, grid), wide


def read_rounded(part: Strip, dtype: str) -> FloatArray:
    """The same, rounded to BF16 or F32: of E4M3 by a kernel that does it all at once."""
    weights, scale = (part.tensors[name] for name in part.module.parts[:2])
    columns = weights.shape[-1]
    if weights.dtype != "F8_E4M3" or columns % 4 or part.has("weight_zero_point"):
        return rounded(read(part), dtype)
    codes = mapped(weights).reshape(-1, columns)[part.first : part.stop]
    grid, wide = _grid(part, scale, weights)
    told = np.array([wide, dtype == "BF16"], np.float32)
    numbers = _compiled.run(
        "from_e4m3",
        np.array(codes).view(np.float32),
        np.concatenate([told, finite(scale, grid).reshape(-1)]),
        block=columns // 4,
        block_bytes=4 * columns,
    )
    return numbers.view(np.float32)


def _grid(part: Strip, scale: StoredTensor, weights: StoredTensor) -> tuple[FloatArray, int]:
    """Return the scales of each of the rows, [n, groups], and the number of columns in a group."""
    rows, columns = weights.shape[-2:]
    places = np.arange(part.first, part.stop)
    block = _block(part.config)
    if math.prod(scale.shape) == 1:
        one = grid_rows(scale, np.zeros(1, np.int64)) if scale.shape else floats(scale)
        return np.broadcast_to(one.reshape(1, 1), (len(places), 1)), columns
    if block is None:
        grid = grid_rows(scale, places)
        size = part.module.group_size or -1
        return grid, size if size > 0 else -(-columns // grid.shape[1])
    high, wide = block
    each = -(-rows // high)
    return grid_rows(scale, places // rows * each + places % rows // high), wide


def _block(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """Rows and columns that share a scale, by the names that tools have for them."""
    groups = (config.get("config_groups") or {}).values()
    weights = [group.get("weights") or {} for group in groups]
    sizes = [config.get("weight_block_size"), *(each.get("block_structure") for each in weights)]
    return next(((size[0], size[1]) for size in sizes if size), None)
