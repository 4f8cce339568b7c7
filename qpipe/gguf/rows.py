"""Rows of a tensor, in a GGUF file or in a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from qpipe.gguf.computed import ComputedTensor
from qpipe.gguf.reader import GGUFFile, Tensor
from qpipe.gguf.safetensors import StoredTensor
from qpipe.gguf.types import GGMLType

Array = npt.NDArray[Any]

_GAP = 64  # rows that are rather read than left out


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
    """Rows of ``columns`` weights that one tensor of GGUF has of one tensor of a checkpoint.

    ``view`` shows it of the stored tensor, as arrays whose rows follow each other (arch/views.py);
    None: as it is. ``compute`` is applied in the precision of the converter: half for F16, single
    for all else.
    """

    tensor: StoredTensor
    columns: int
    view: Callable[[Array], Array | Sequence[Array]] | None = None
    compute: Callable[[Array], Array] | None = None

    DTYPES: ClassVar[Mapping[str, str]] = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}

    @property
    def origin(self) -> str:
        """The tensor and file to blame."""
        return self.tensor.origin

    @property
    def type(self) -> GGMLType | None:
        """The type that a tensor is kept in; None if its rows are only delivered as floats."""
        return self.tensor.kept if isinstance(self.tensor, ComputedTensor) else None

    @property
    def count(self) -> int:
        """The number of rows."""
        shown = self._shown(np.broadcast_to(np.int8(0), self.tensor.shape))
        return sum(math.prod(_leading(part, self.columns)) for part in shown)

    def raw(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Rows in `type`, asked for where that is not None."""
        assert isinstance(self.tensor, ComputedTensor), self.tensor
        if self.view is None:
            return self.tensor.raw(start, stop)
        places, _ = self._places(start, stop)
        return _picked(self.tensor.raw, places[:, 0])

    def floats(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Rows as float32."""
        if self.view is None:
            picked = matrix_rows(self.tensor, start, stop)
        elif isinstance(self.tensor, ComputedTensor):
            picked = self._computed(self.tensor, start, stop)
        else:
            viewed = self._viewed(mapped(self.tensor), start, stop)
            picked = bf16_to_f32(viewed) if self.tensor.dtype == "BF16" else viewed
        if self.compute is not None:
            half = self.tensor.dtype == "F16"
            picked = self.compute(picked.astype(np.float16) if half else picked)
        return np.ascontiguousarray(picked, np.float32)

    def _shown(self, stored: Array) -> Sequence[Array]:
        shown = stored if self.view is None else self.view(stored)
        return [shown] if isinstance(shown, np.ndarray) else shown

    def _viewed(self, stored: Array, start: int, stop: int) -> Array:
        pieces, first = [], 0
        for part in self._shown(stored):
            height = math.prod(_leading(part, self.columns))
            if first + height > start and first < stop:
                inside = max(start - first, 0), min(stop - first, height)
                pieces.append(_rows(part, self.columns, *inside))
            first += height
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _places(self, start: int, stop: int) -> tuple[Array, Array]:
        """Row and column in the tensor of each weight of these rows, -1 of what is added."""
        *leading, columns = self.tensor.shape
        numbers = np.arange(math.prod(leading)).reshape(*leading, 1)
        rows = self._viewed(np.broadcast_to(numbers, self.tensor.shape), start, stop)
        along = np.broadcast_to(np.arange(columns), self.tensor.shape)
        return rows, self._viewed(along, start, stop)

    def _computed(self, tensor: ComputedTensor, start: int, stop: int) -> npt.NDArray[np.float32]:
        rows, columns = self._places(start, stop)
        if (added := rows < 0).any():
            numbers = self._at(tensor, np.where(added, 0, rows), np.where(added, 0, columns))
            return np.where(added, np.float32(0), numbers)
        return self._at(tensor, rows, columns)

    @staticmethod
    def _at(tensor: ComputedTensor, rows: Array, columns: Array) -> npt.NDArray[np.float32]:
        if (rows == rows[:, :1]).all():
            picked = _picked(tensor.floats, rows[:, 0])
            return np.take_along_axis(picked, columns, axis=1)
        first = int(rows.min())  # of whole matrices, where rows become columns
        numbers = tensor.floats(first, int(rows.max()) + 1)
        return numbers[rows - first, columns]  # type: ignore[no-any-return]


def _picked(read: Callable[[int, int], Array], places: Array) -> Array:
    """The rows at ``places`` of what ``read`` delivers from one row to another, in their order."""
    wanted = np.unique(places)
    ends = np.flatnonzero(np.diff(wanted) > _GAP)
    runs = zip([0, *(ends + 1)], [*ends, len(wanted) - 1], strict=True)
    read_rows = [(int(wanted[i]), int(wanted[j]) + 1) for i, j in runs]
    numbers = np.concatenate([np.arange(*run) for run in read_rows])
    stored = np.concatenate([read(*run) for run in read_rows])
    return stored[np.searchsorted(numbers, places)]


def _leading(array: Array, columns: int) -> tuple[int, ...]:
    """The axes that make rows of ``columns`` weights: as many as leave the others to a row."""
    split = array.ndim
    while math.prod(array.shape[split:]) != columns:
        split -= 1
    return array.shape[:split]


def _rows(array: Array, columns: int, start: int, stop: int) -> Array:
    """Rows of an array whose leading axes count them, [stop - start, columns]."""
    leading = _leading(array, columns)
    if len(leading) == 0:
        picked = array
    elif len(leading) == 1:
        picked = array[start:stop]
    elif start // leading[-1] == (stop - 1) // leading[-1]:  # in one matrix
        outer = np.unravel_index(start // leading[-1], leading[:-1])
        first = start % leading[-1]
        picked = array[outer][first : first + stop - start]
    else:
        picked = array[np.unravel_index(np.arange(start, stop), leading)]
    return picked.reshape(stop - start, columns)


def mapped(tensor: StoredTensor) -> Array:
    """A stored tensor of floats, mapped: only what is looked at is read; BF16 as its bits."""
    dtype = SafetensorsRows.DTYPES[tensor.dtype]
    return np.memmap(tensor.path, dtype, "r", tensor.offset, tensor.shape)


def matrix_rows(tensor: StoredTensor, start: int, stop: int) -> npt.NDArray[np.float32]:
    """Rows of a checkpoint's tensor as float32, exactly: of the matrix [product of all dimensions
    but the last, last], a vector being one row. Whatever reads a checkpoint's floats does so here.
    """
    if isinstance(tensor, ComputedTensor):
        return tensor.floats(start, stop)
    columns = tensor.shape[-1] if tensor.shape else 1
    stored = mapped(tensor).reshape(-1, columns)[start:stop]
    return bf16_to_f32(stored) if tensor.dtype == "BF16" else stored.astype(np.float32, copy=False)


@dataclass(frozen=True)
class StackedRows:
    """Matrices of one shape on top of each other: experts, each a tensor of the checkpoint."""

    parts: Sequence[SafetensorsRows]

    @property
    def origin(self) -> str:
        """The first and last tensor, and the file to blame."""
        return f"{self.parts[0].origin} to {self.parts[-1].tensor.name!r}"

    @property
    def type(self) -> GGMLType | None:
        """The type that all of the matrices are kept in, if there is one."""
        kinds = {part.type for part in self.parts}
        return kinds.pop() if len(kinds) == 1 else None

    def raw(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Rows in `type`, asked for where that is not None."""
        return self._joined(SafetensorsRows.raw, start, stop)

    def floats(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Rows as float32, from as many matrices as they lie in."""
        return self._joined(SafetensorsRows.floats, start, stop)

    def _joined(
        self, read: Callable[[SafetensorsRows, int, int], Array], start: int, stop: int
    ) -> Array:
        height = self.parts[0].count
        pieces = [
            read(part, max(start - first, 0), min(stop - first, height))
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


@dataclass(frozen=True)
class ZeroRows:
    """Rows of ``columns`` zeros, for a tensor that a checkpoint does not hold."""

    origin: str
    columns: int
    type: GGMLType | None = None

    def raw(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Never asked for, since `type` is None."""
        raise NotImplementedError

    def floats(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Zeros."""
        return np.zeros((stop - start, self.columns), np.float32)
