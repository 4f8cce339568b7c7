"""Rows of a tensor, in a GGUF file or in a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from qpipe.gguf.computed import ComputedTensor
from qpipe.gguf.reader import GGUFFile, Tensor
from qpipe.gguf.safetensors import StoredTensor
from qpipe.gguf.types import GGMLType


def bf16_to_f32(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """BF16 bit patterns as float32, exactly."""
    wide = bits.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


def single(raw: npt.NDArray[np.uint8], stored: GGMLType) -> npt.NDArray[np.float32]:
    """Rows [n, bytes per row] of F32, F16 or BF16 as float32, exactly."""
    if stored == GGMLType.F16:
        return raw.view("<f2").astype(np.float32)
    if stored == GGMLType.BF16:
        return bf16_to_f32(raw.view("<u2"))
    assert stored == GGMLType.F32, stored
    return raw.view("<f4")


@dataclass(frozen=True)
class GGUFRows:
    """One tensor of ``file``, whose floats can be read if it is F32, F16 or BF16."""

    file: GGUFFile
    tensor: Tensor

    @property
    def origin(self) -> str:
        """The tensor and file to blame."""
        return f"{self.tensor.path or self.file.path}: tensor {self.tensor.name!r}"

    @property
    def type(self) -> GGMLType | None:
        """The type in the file."""
        return self.tensor.type

    def raw(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Rows as they are stored."""
        return np.ascontiguousarray(self.file.data(self.tensor)[start:stop])

    def floats(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Rows as float32."""
        return single(self.raw(start, stop), self.tensor.type)


@dataclass(frozen=True)
class BufferRows:
    """Some rows of a tensor in memory, the first of which is its row ``first``: ``stored`` [rows,
    bytes per row] of the type ``type``."""

    origin: str
    type: GGMLType
    stored: npt.NDArray[np.uint8]
    first: int

    def raw(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Rows as they are stored."""
        return self.stored[start - self.first : stop - self.first]

    def floats(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Rows as float32."""
        return single(self.raw(start, stop), self.type)


@dataclass(frozen=True)
class SafetensorsRows:
    """One tensor of a checkpoint, a vector being one row; ``order`` picks source rows.

    A vector is reordered by its elements instead. ``shift`` is added in the precision of the
    converter: half for F16, single for all else.
    """

    tensor: StoredTensor
    order: npt.NDArray[np.int64] | None = None
    shift: float = 0.0

    DTYPES: ClassVar[Mapping[str, str]] = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}

    @property
    def origin(self) -> str:
        """The tensor and file to blame."""
        return self.tensor.origin

    @property
    def type(self) -> GGMLType | None:
        """The type that a tensor is kept in; None if its rows are only delivered as floats."""
        return self.tensor.kept if isinstance(self.tensor, ComputedTensor) else None

    def raw(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Rows in `type`, asked for where that is not None."""
        assert isinstance(self.tensor, ComputedTensor), self.tensor
        if self.order is None:
            return self.tensor.raw(start, stop)
        places = self.order[start:stop]
        first = int(places.min())
        return self.tensor.raw(first, int(places.max()) + 1)[places - first]

    def floats(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Rows as float32."""
        if len(self.tensor.shape) == 1:
            picked = matrix_rows(self.tensor, 0, 1)
            picked = picked if self.order is None else picked[:, self.order]
        elif self.order is None:
            picked = matrix_rows(self.tensor, start, stop)
        else:
            places = self.order[start:stop]
            first = int(places.min())
            picked = matrix_rows(self.tensor, first, int(places.max()) + 1)[places - first]
        if self.shift:
            picked = _shifted(picked, self.shift, half=self.tensor.dtype == "F16")
        return np.ascontiguousarray(picked, np.float32)


def matrix_rows(tensor: StoredTensor, start: int, stop: int) -> npt.NDArray[np.float32]:
    """Rows of a checkpoint's tensor as float32, exactly: of the matrix [product of all dimensions
    but the last, last], a vector being one row. Whatever reads a checkpoint's floats does so here.
    """
    if isinstance(tensor, ComputedTensor):
        return tensor.floats(start, stop)
    shape = (math.prod(tensor.shape[:-1]), tensor.shape[-1])
    dtype = SafetensorsRows.DTYPES[tensor.dtype]
    stored = np.memmap(tensor.path, dtype, "r", tensor.offset, shape)[start:stop]
    return bf16_to_f32(stored) if tensor.dtype == "BF16" else stored.astype(np.float32, copy=False)


def _shifted(rows: npt.NDArray[np.float32], shift: float, *, half: bool) -> npt.NDArray[np.float32]:
    if half:
        return (rows.astype(np.float16) + np.float16(shift)).astype(np.float32)
    return rows + np.float32(shift)


@dataclass(frozen=True)
class StackedRows:
    """Matrices of one shape on top of each other: experts, each a tensor of the checkpoint."""

    parts: Sequence[SafetensorsRows]
    type: GGMLType | None = None

    @property
    def origin(self) -> str:
        """The first and last tensor, and the file to blame."""
        return f"{self.parts[0].origin} to {self.parts[-1].tensor.name!r}"

    def raw(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Never asked for, since `type` is None."""
        raise NotImplementedError

    def floats(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Rows as float32, from as many matrices as they lie in."""
        height = self.parts[0].tensor.shape[0]
        pieces = [
            part.floats(max(start - first, 0), min(stop - first, height))
            for first, part in zip(range(0, stop, height), self.parts, strict=False)
            if first + height > start
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


@dataclass(frozen=True)
class ArrayRows:
    """One vector in memory, which the checkpoint does not hold but its config implies."""

    origin: str
    vector: npt.NDArray[np.float32]
    type: GGMLType | None = None

    def raw(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Never asked for, since `type` is None."""
        raise NotImplementedError

    def floats(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """The vector as its one row."""
        return self.vector[None, :]


def interleaved(rows: int, heads: int) -> npt.NDArray[np.int64]:
    """For each row of a q or k projection in ggml's order, the row of Hugging Face's.

    Each head's two halves become neighbours: conversion/llama.py, LlamaModel.permute.
    """
    return np.arange(rows).reshape(heads, 2, rows // heads // 2).swapaxes(1, 2).reshape(-1)
