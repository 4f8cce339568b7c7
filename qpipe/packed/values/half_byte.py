"""Half a byte a weight, in E2M1: NVFP4, by a scale for each 16 and one for the matrix, and MXFP4,
by a power of two for each 32.

Source: compressed_tensors 0.19, compressors/nvfp4 and mxfp4; nvidia-modelopt 0.47,
torch/quantization/qtensor/nvfp4_tensor.py, ``NVFP4QTensor.dequantize``; transformers 5.17,
integrations/mxfp4.py, ``_convert_moe_packed_tensors``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qpipe.packed.values import tables
from qpipe.packed.values.base import FloatArray, Strip, finite, floats, grid_rows, mapped, scaled

_MXFP4 = 32


def read(part: Strip) -> FloatArray:
    """Rows of a matrix, or of experts as one matrix."""
    columns = part.module.shape[-1]
    codes = mapped(part.tensors[part.module.parts[0]]).reshape(-1, columns // 2)[
        part.first : part.stop
    ]
    numbers = np.take(tables.PAIRS, codes).view(np.float32)
    if part.has("weight_scale_2"):
        numbers += 0  # nvidia-modelopt 0.47 has no negative zero
    return scaled(numbers, *scales(part))


def scales(part: Strip) -> tuple[FloatArray, int]:
    """The scales of each of the rows, [n, groups], and the number of columns in a group. Raises
    CheckpointError for one that is no finite number."""
    scale = part.tensors[part.module.parts[1]]
    grid = finite(scale, grid_rows(scale, np.arange(part.first, part.stop)))
    if part.has("weight_global_scale"):
        whole = part.tensors[f"{part.module.name}.weight_global_scale"]
        grid = grid / finite(whole, floats(whole))
    elif part.has("weight_scale_2"):
        whole = part.tensors[f"{part.module.name}.weight_scale_2"]
        grid = grid * finite(whole, floats(whole))
    return grid, part.module.group_size or _MXFP4


def mxfp4_blocks(part: Strip) -> npt.NDArray[np.uint8]:
    """Rows as GGUF's MXFP4, [n, bytes per row]: of 32 weights the scale, and then in the lower
    halves of 16 bytes the first 16, the others in the upper (ggml-common.h, block_mxfp4)."""
    codes, scales = (mapped(part.tensors[name]) for name in part.module.parts[:2])
    groups = part.module.shape[-1] // _MXFP4
    pairs = codes.reshape(-1, groups, _MXFP4 // 2)[part.first : part.stop]
    each = np.stack([pairs & 15, pairs >> 4], axis=-1).reshape(len(pairs), groups, _MXFP4)
    blocks = np.empty((len(pairs), groups, 1 + _MXFP4 // 2), np.uint8)
    blocks[:, :, 0] = scales.reshape(-1, groups)[part.first : part.stop]
    blocks[:, :, 1:] = each[:, :, :16] | each[:, :, 16:] << 4
    return blocks.reshape(len(pairs), -1)
