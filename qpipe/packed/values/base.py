"""Some rows of a packed matrix as numbers, and what is common in reading them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.gguf.rows import bf16_to_f32
from qpipe.gguf.safetensors import StoredTensor
from qpipe.packed.formats.base import Packed, Tensors

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

ALIGNED = 32
"""Rows begin at a multiple of it: of whatever bits, that many values fill whole words."""

_DTYPES = {
    "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I8": "i1", "U8": "u1", "I16": "<i2", "I32": "<i4",
    "I64": "<i8",
}  # fmt: skip


@dataclass(frozen=True)
class Strip:
    """Rows ``first`` to ``stop`` (not included) of a packed ``module``: what a layout reads.

    ``config`` is the checkpoint's ``quantization_config``.
    """

    module: Packed
    tensors: Tensors
    config: Mapping[str, Any]
    first: int
    stop: int

    def has(self, suffix: str) -> bool:
        """True if the module has a tensor of this suffix."""
        return f"{self.module.name}.{suffix}" in self.tensors

    def array(self, suffix: str) -> npt.NDArray[Any]:
        """A tensor of the module, mapped and not read yet; BF16 as its bits."""
        return mapped(self.tensors[f"{self.module.name}.{suffix}"])

    def floats(self, suffix: str, at: Any = ...) -> FloatArray:
        """The elements at the index ``at`` of a tensor of floats, as float32."""
        return floats(self.tensors[f"{self.module.name}.{suffix}"], at)


@dataclass(frozen=True)
class Values:
    """Rows of a matrix as they come out of its packed form, [n, columns] or, where blocks run over
    the ends of rows, the same numbers [1, n · columns].

    ``low`` and ``high`` (of a shape that broadcasts) are the ends of what the packed form can say
    at each place. ``order`` puts columns into the order of their groups, where they are not.
    """

    numbers: FloatArray
    low: FloatArray
    high: FloatArray
    order: IntArray | None = None


def mapped(tensor: StoredTensor) -> npt.NDArray[Any]:
    """A stored tensor, mapped: only what is looked at is read."""
    dtype = np.dtype(_DTYPES[tensor.dtype])
    if math.prod(tensor.shape) == 0:
        return np.empty(tensor.shape, dtype)
    return np.memmap(tensor.path, dtype, "r", offset=tensor.offset, shape=tensor.shape)


def floats(tensor: StoredTensor, at: Any = ...) -> FloatArray:
    """The elements at the index ``at`` of a stored tensor of floats, as float32."""
    array = np.ascontiguousarray(mapped(tensor)[at])
    return bf16_to_f32(array) if tensor.dtype == "BF16" else array.astype(np.float32)


def unpacked(words: npt.NDArray[Any], bits: int, count: int) -> FloatArray:
    """The first ``count`` values of ``bits`` bits in each row of 32-bit ``words`` [n, words]: the
    first value in the lowest bits, one behind the other, across the ends of words too."""
    whole = np.ascontiguousarray(words).view(np.uint8)
    stream = np.unpackbits(whole, axis=-1, bitorder="little", count=count * bits)
    weights = (1 << np.arange(bits)).astype(np.float32)
    numbers: FloatArray = stream.reshape(len(words), count, bits).astype(np.float32) @ weights
    return numbers


def spread(groups: FloatArray, columns: int, size: int) -> FloatArray:
    """The value of each group [n, groups], repeated at each of its columns [n, columns]."""
    if groups.shape[1] == 1:
        return np.broadcast_to(groups, (len(groups), columns))
    return np.repeat(groups, size, axis=1)[:, :columns]
