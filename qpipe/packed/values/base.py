"""Some rows of a packed matrix as numbers, and what is common in reading them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.errors import CheckpointError
from qpipe.gguf.rows import bf16_to_f32
from qpipe.gguf.safetensors import StoredTensor
from qpipe.packed.formats.base import Packed, Tensors
from qpipe.packed.values import tables

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

ALIGNED = 32
"""Rows begin at a multiple of it: of whatever bits, that many values fill whole words."""

_DTYPES = {
    "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I8": "i1", "U8": "u1", "I16": "<i2", "I32": "<i4",
    "I64": "<i8", "F8_E4M3": "u1", "F8_E5M2": "u1", "F8_E8M0": "u1",
}  # fmt: skip
_NUMBERS = {"F8_E4M3": tables.E4M3, "F8_E5M2": tables.E5M2, "F8_E8M0": tables.E8M0}


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

    def scales(self, suffix: str, at: Any = ...) -> FloatArray:
        """The same of scales. Raises CheckpointError for one that is no finite number."""
        return finite(self.tensors[f"{self.module.name}.{suffix}"], self.floats(suffix, at))

    def row_values(self, suffix: str) -> FloatArray:
        """The numbers that a tensor has for these rows, [n, groups]: it may hold one, one a row,
        or some a row."""
        stored = self.tensors[f"{self.module.name}.{suffix}"]
        if math.prod(stored.shape) == 1 or stored.shape[0] == 1:
            one = self.floats(suffix).reshape(1, -1)
            return np.broadcast_to(one, (self.stop - self.first, one.shape[1]))
        some = self.floats(suffix, slice(self.first, self.stop))
        return some.reshape(self.stop - self.first, -1)

    def row_scales(self, suffix: str) -> FloatArray:
        """`row_values` that are scales. Raises CheckpointError for one that is no finite number."""
        return finite(self.tensors[f"{self.module.name}.{suffix}"], self.row_values(suffix))


Ends = tuple[FloatArray, FloatArray]


@dataclass(frozen=True)
class Values:
    """Rows of a matrix as they come out of its packed form, [n, columns] or, where blocks run over
    the ends of rows, the same numbers [1, n · columns].

    ``ends`` computes (`low`, `high`). ``order`` puts columns into the order of their groups, where
    they are not. ``levels``, ascending, are the numbers that codes stand for before they are
    scaled, where these are floats; None: whole numbers.
    """

    numbers: FloatArray
    ends: Callable[[], Ends]
    order: IntArray | None = None
    levels: FloatArray | None = None

    @cached_property
    def _ends(self) -> Ends:
        return self.ends()

    @property
    def low(self) -> FloatArray:
        """The lower ends of what the packed form can say at each place; of a shape that
        broadcasts."""
        return self._ends[0]

    @property
    def high(self) -> FloatArray:
        """The upper ends."""
        return self._ends[1]


def mapped(tensor: StoredTensor) -> npt.NDArray[Any]:
    """A stored tensor, mapped: only what is looked at is read."""
    dtype = np.dtype(_DTYPES[tensor.dtype])
    if math.prod(tensor.shape) == 0:
        return np.empty(tensor.shape, dtype)
    return np.memmap(tensor.path, dtype, "r", offset=tensor.offset, shape=tensor.shape)


def floats(tensor: StoredTensor, at: Any = ...) -> FloatArray:
    """The elements at the index ``at`` of a stored tensor of floats, as float32."""
    return _decoded(np.ascontiguousarray(mapped(tensor)[at]), tensor.dtype)


def grid_rows(tensor: StoredTensor, places: IntArray) -> FloatArray:
    """Rows ``places``, in ascending order, of scales as a matrix [product of all dimensions but the
    last, last], or of a vector as one of one column; bytes are exponents of two."""
    width = tensor.shape[-1] if len(tensor.shape) > 1 else 1
    first = int(places[0])
    stored = mapped(tensor).reshape(-1, width)[first : int(places[-1]) + 1]
    kind = "F8_E8M0" if tensor.dtype == "U8" else tensor.dtype
    return _decoded(np.ascontiguousarray(stored), kind)[places - first]


def _decoded(array: npt.NDArray[Any], dtype: str) -> FloatArray:
    if dtype in _NUMBERS:
        return np.take(_NUMBERS[dtype], array)
    return bf16_to_f32(array) if dtype == "BF16" else array.astype(np.float32)


def finite(tensor: StoredTensor, scales: FloatArray) -> FloatArray:
    """Scales that were read from ``tensor``. Raises CheckpointError for one that is no number."""
    if not np.isfinite(scales).all():
        worst = float(scales[~np.isfinite(scales)][0])
        raise CheckpointError(
            f"{tensor.origin}: holds the scale {worst}, by which no weight can be multiplied; "
            "download it again, or take another revision"
        )
    return scales


def unpacked(words: npt.NDArray[Any], bits: int, count: int) -> FloatArray:
    """The first ``count`` values of ``bits`` bits in each row of 32-bit ``words`` [n, words]: the
    first value in the lowest bits, one behind the other, across the ends of words too."""
    whole = np.ascontiguousarray(words).view(np.uint8)
    if 8 % bits == 0:
        each = np.empty((*whole.shape, 8 // bits), np.uint8)
        for at in range(8 // bits):
            each[..., at] = (whole >> (at * bits)) & (2**bits - 1)
        return each.reshape(len(words), -1)[:, :count].astype(np.float32)
    stream = np.unpackbits(whole, axis=-1, bitorder="little", count=count * bits)
    weights = (1 << np.arange(bits)).astype(np.float32)
    numbers: FloatArray = stream.reshape(len(words), count, bits).astype(np.float32) @ weights
    return numbers


def spread(groups: FloatArray, columns: int, size: int) -> FloatArray:
    """The value of each group [n, groups], repeated at each of its columns [n, columns]."""
    if groups.shape[1] == 1:
        return np.broadcast_to(groups, (len(groups), columns))
    return np.repeat(groups, size, axis=1)[:, :columns]


def scaled(numbers: FloatArray, scales: FloatArray, size: int) -> FloatArray:
    """``numbers`` [n, columns], overwritten, times the scale of each one's group [n, groups]."""
    columns = numbers.shape[1]
    if size > 0 and scales.shape[1] * size == columns:
        grouped = numbers.reshape(len(numbers), scales.shape[1], size)
        grouped *= scales[:, :, None]
    else:
        numbers *= spread(scales, columns, size)
    return numbers


def less(numbers: FloatArray, zeros: FloatArray, size: int) -> FloatArray:
    """``numbers`` [n, columns], overwritten, less the zero point of each one's group."""
    columns = numbers.shape[1]
    if size > 0 and zeros.shape[1] * size == columns:
        grouped = numbers.reshape(len(numbers), zeros.shape[1], size)
        grouped -= zeros[:, :, None]
    else:
        numbers -= spread(zeros, columns, size)
    return numbers
