"""Write a GGUF file in one pass: header first, then each tensor chunk by chunk.

Every size is known from names, shapes and types, so nothing is buffered but the chunks in
flight; memory is bounded by ``CHUNK_WEIGHTS`` and the number of threads, not by the model.
The bytes depend on the input alone: no time stamp, no order of completion.
"""

from __future__ import annotations

import errno
import functools
import math
import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from qpipe import errors
from qpipe.gguf import quantizers, types, values
from qpipe.gguf.quantizers import floats
from qpipe.gguf.reader import DEFAULT_ALIGNMENT, MAGIC
from qpipe.gguf.types import GGMLType

VERSION = 3
CHUNK_WEIGHTS = 1 << 20

Progress = Callable[[int, int], None]
"""Called with (bytes written, bytes to write) of tensor data after every chunk."""

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


class Rows(Protocol):
    """Where the rows of one tensor come from; a 3-D tensor is its rows in order."""

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


@dataclass(frozen=True)
class Output:
    """One tensor to write: shape in numpy order.

    ``via`` is the precision through which weights go before they are written. ``imatrix``
    [matrices, n_per_row] weighs the columns, of each expert's matrix its own.
    """

    name: str
    shape: tuple[int, ...]
    type: GGMLType
    rows: Rows
    via: GGMLType = GGMLType.F32
    imatrix: Floats | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of data, without padding."""
        return self.type.tensor_bytes(self.shape)

    @property
    def matrix_rows(self) -> int:
        """The number of rows that share one line of ``imatrix``."""
        rows = math.prod(self.shape[:-1])
        return rows if self.imatrix is None else rows // len(self.imatrix)


def write(
    out: Path,
    metadata: Mapping[str, bytes],
    outputs: Sequence[Output],
    *,
    threads: int = 1,
    progress: Progress | None = None,
) -> int:
    """Write ``out`` and return its size in bytes; on any error nothing is left under that name.

    Raises `CheckpointError` for a weight that is no finite number, `OutOfSpaceError` for a full
    disk.
    """
    total = sum(output.nbytes for output in outputs)
    written = 0
    with _replacing(out) as file, ThreadPoolExecutor(max(1, threads)) as pool:
        file.write(header(metadata, outputs))
        for output in outputs:
            for chunk in _in_order(pool, _chunks(output), ahead=2 * max(1, threads)):
                file.write(chunk.data)
                written += chunk.nbytes
                if progress:
                    progress(written, total)
            file.write(bytes(-output.nbytes % DEFAULT_ALIGNMENT))
        return file.tell()


def size(metadata: Mapping[str, bytes], outputs: Sequence[Output]) -> int:
    """The bytes of the file that `write` would write."""
    data = sum(output.nbytes + -output.nbytes % DEFAULT_ALIGNMENT for output in outputs)
    return len(header(metadata, outputs)) + data


def header(metadata: Mapping[str, bytes], outputs: Sequence[Output]) -> bytes:
    """Everything in front of the tensor data, padded to the alignment."""
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(outputs), len(metadata))]
    for key, value in metadata.items():
        parts += [values.pack_string(key.encode()), value]
    offset = 0
    for output in outputs:
        dims = tuple(reversed(output.shape))
        parts.append(values.pack_string(output.name.encode()))
        parts.append(struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, output.type.number, offset))
        offset += output.nbytes + -output.nbytes % DEFAULT_ALIGNMENT
    joined = b"".join(parts)
    return joined + bytes(-len(joined) % DEFAULT_ALIGNMENT)


def _chunks(output: Output) -> Iterator[Callable[[], Bytes]]:
    rows, matrix = math.prod(output.shape[:-1]), output.matrix_rows
    make: Callable[[int, int], Bytes]
    step = max(1, CHUNK_WEIGHTS // output.shape[-1])
    if output.rows.type == output.type and output.type not in types.FLOATS:
        make = output.rows.raw
    else:
        make = _encoder(output)
    for first in range(0, rows, matrix):
        for start in range(first, first + matrix, step):
            stop = min(start + step, first + matrix)
            yield functools.partial(make, start, stop)


def _encoder(output: Output) -> Callable[[int, int], Bytes]:
    """A function of row ranges that lie within one matrix."""
    quantize = quantizers.quantizer(output.type)

    def encode(start: int, stop: int) -> Bytes:
        weights = None if output.imatrix is None else output.imatrix[start // output.matrix_rows]
        try:
            exact = output.rows.floats(start, stop)
            _check_finite(exact, start, output.rows.origin)
            return quantize(floats.rounded(exact, output.via), imatrix=weights)
        except OverflowError as error:
            raise errors.CheckpointError(
                f"{output.rows.origin}: {error}; choose BF16 or F32 for this model"
            ) from None

    return encode


def _check_finite(weights: Floats, first_row: int, origin: str) -> None:
    finite = np.isfinite(weights)
    if not finite.all():
        row, column = (int(i) for i in np.argwhere(~finite)[0])
        raise errors.CheckpointError(
            f"{origin}: the weight in row {first_row + row}, column {column} is "
            f"{weights[row, column]}; a model with such weights cannot be quantized: "
            "download it again, or take another revision"
        )


def _in_order(
    pool: ThreadPoolExecutor, jobs: Iterator[Callable[[], Bytes]], *, ahead: int
) -> Iterator[Bytes]:
    """Results of ``jobs`` in their order, at most ``ahead`` of them in memory."""
    pending: deque[Future[Bytes]] = deque()
    try:
        for job in jobs:
            pending.append(pool.submit(job))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


@contextmanager
def _replacing(out: Path) -> Iterator[BinaryIO]:
    """A file that takes the name ``out`` once the block has succeeded, and vanishes otherwise."""
    partial = out.with_name(out.name + ".partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(out)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise errors.OutOfSpaceError(
                f"{out}: the disk is full; free some space there, or take old artifacts away "
                "with `qpipe gc --max-size SIZE`, then run again"
            ) from error
        raise
    finally:
        partial.unlink(missing_ok=True)
