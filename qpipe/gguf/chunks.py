"""Tensors to write: where their rows come from, and their bytes, made chunk by chunk.

A chunk can be made in several types at once: it is then read, checked and rounded once.
"""

from __future__ import annotations

import functools
import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from qpipe import errors
from qpipe.gguf import lattices, quantizers, types, weight_errors
from qpipe.gguf.lattices import Kept
from qpipe.gguf.quantizers import floats
from qpipe.gguf.types import GGMLType
from qpipe.gguf.weight_errors import Squares

WEIGHTS = 1 << 20
"""Weights in a chunk, at most; a row is never cut."""

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

Scales = Literal["ggml", "lattice"]
"""ggml's scales, or those of a lattice where the weights lie on one."""


class Rows(Protocol):
    """The source of one tensor's rows; a 3-D tensor is its rows in order."""

    @property
    def origin(self) -> str:
        """The tensor and file to blame, for messages."""

    @property
    def type(self) -> GGMLType | None:
        """The type that `raw` delivers; None where there are only floats."""

    def floats(self, start: int, stop: int) -> Floats:
        """Rows as float32 [stop - start, n_per_row]."""

    def raw(self, start: int, stop: int) -> Bytes:
        """Rows as they are stored [stop - start, bytes per row]."""


@runtime_checkable
class OnceRead(Protocol):
    """Rows that come once, from first to last, wherever they come from."""

    def read(self, start: int, stop: int) -> Rows:
        """Rows that stay, the next that come."""


@dataclass(frozen=True)
class OutputTensor:
    """One tensor to write: shape in numpy order.

    ``via`` is the precision through which weights go before they are written. ``imatrix``
    [matrices, n_per_row] weighs the columns, of each expert's matrix its own. ``scales`` lattice
    goes before both: it is for a type of `lattices.TYPES`.
    """

    name: str
    shape: tuple[int, ...]
    type: GGMLType
    rows: Rows
    via: GGMLType = GGMLType.F32
    imatrix: Floats | None = None
    scales: Scales = "ggml"

    @property
    def nbytes(self) -> int:
        """Bytes of data, without padding."""
        return self.type.tensor_bytes(self.shape)

    @property
    def matrix_rows(self) -> int:
        """The number of rows that share one line of ``imatrix``."""
        rows = math.prod(self.shape[:-1])
        return rows if self.imatrix is None else rows // len(self.imatrix)

    def on_lattice(self, rows: Rows | None = None) -> bool:
        """True if it is to keep a lattice, and a sample of the first of its ``rows`` (all of them
        by default) says that they lie on one."""
        if self.scales == "ggml":
            return False
        source, step = rows or self.rows, rows_of_chunk(self.shape[-1])

        def sample(start: int, stop: int) -> Floats:
            return floats.rounded(source.floats(start, stop), self.via)

        try:
            return lattices.found(self.type, min(self.shape[-2], step), self.shape[-1], sample)
        except OverflowError:  # which is said of the chunk with the weight in it
            return False


class Chunk(NamedTuple):
    """Some rows of a tensor as they are written, and how far they are from their source; None of
    those that are floats, or are copied. ``kept`` is how many blocks of a tensor on a lattice
    are."""

    encoded: Bytes
    squares: Squares | None
    kept: Kept | None = None


def rows_of_chunk(n_per_row: int) -> int:
    """Rows of a chunk, at most."""
    return max(1, WEIGHTS // n_per_row)


@dataclass(frozen=True)
class ChunkWeights:
    """The weights of rows ``start`` to ``stop`` (not included), each precision computed once."""

    rows: Rows
    start: int
    stop: int

    @functools.cached_property
    def _through(self) -> dict[GGMLType, Floats]:
        return {}

    @functools.cached_property
    def _exact(self) -> Floats:
        weights = self.rows.floats(self.start, self.stop)
        _check_finite(weights, self.start, self.rows.origin)
        return weights

    def exact(self) -> Floats:
        """The source's numbers [rows, n_per_row]. Raises `CheckpointError` for one that is not
        finite."""
        return self._exact

    def through(self, via: GGMLType) -> Floats:
        """The numbers as they would be read again from a file in a precision. Raises
        `OverflowError` as `floats.rounded`."""
        if via not in self._through:
            self._through[via] = floats.rounded(self._exact, via)
        return self._through[via]


def chunks(outputs: Sequence[OutputTensor]) -> Iterator[Callable[[], list[Chunk]]]:
    """Yield a function for each chunk of one tensor: it makes the chunk in the type of each of
    ``outputs``, which share the tensor's rows.

    A chunk lies within one matrix; the first tells whether the tensor lies on a lattice. Making one
    raises `CheckpointError` for a weight that is no finite number, or too large for a type.
    """
    one = outputs[0]
    n_rows, matrix = math.prod(one.shape[:-1]), min(output.matrix_rows for output in outputs)
    step = rows_of_chunk(one.shape[-1])
    for first in range(0, n_rows, matrix):
        for start in range(first, first + matrix, step):
            stop = min(start + step, first + matrix)
            rows = one.rows.read(start, stop) if isinstance(one.rows, OnceRead) else one.rows
            if start == 0:
                outputs = [_decided(output, rows) for output in outputs]
            yield functools.partial(_encode, outputs, rows, start, stop)


def _decided(output: OutputTensor, rows: Rows) -> OutputTensor:
    return output if output.on_lattice(rows) else replace(output, scales="ggml")


def _encode(outputs: Sequence[OutputTensor], rows: Rows, start: int, stop: int) -> list[Chunk]:
    """Rows of one tensor in every type; what types have in common is computed once."""

    source = ChunkWeights(rows, start, stop)

    def encoded(output: OutputTensor) -> Chunk:
        if rows.type == output.type and output.type not in types.FLOATS:
            return Chunk(_own(rows.raw(start, stop)), None)
        weights = None if output.imatrix is None else output.imatrix[start // output.matrix_rows]
        made = quantizers.quantizer(output.type)(source.through(output.via), imatrix=weights)
        kept = None
        if output.scales == "lattice":
            kept = lattices.keep(source.through(output.via), made, output.type)
        exact = source.exact()
        squares = weight_errors.squares(exact, made, output.type, start=start, shape=output.shape)
        return Chunk(_own(made), squares, kept)

    try:
        return [encoded(output) for output in outputs]
    except OverflowError as error:
        raise errors.CheckpointError(
            f"{rows.origin}: {error}; choose BF16 or F32 for this model"
        ) from None


def _own(made: Bytes) -> Bytes:
    """Bytes in memory that nobody else writes to: a mapped file's are copied, so that those which
    are hashed are those which were written."""
    base: object = made
    while isinstance(base, np.ndarray):
        base = base.base
    return made.copy() if isinstance(base, mmap.mmap) else made


def _check_finite(weights: Floats, first_row: int, origin: str) -> None:
    if not math.isfinite(floats.largest(weights)):
        row, column = (int(i) for i in np.argwhere(~np.isfinite(weights))[0])
        raise errors.CheckpointError(
            f"{origin}: the weight in row {first_row + row}, column {column} is "
            f"{weights[row, column]}; a model with such weights cannot be quantized: "
            "download it again, or take another revision"
        )
