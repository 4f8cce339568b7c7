"""Write GGUF files in one pass over their source: headers first, then each tensor chunk by chunk.

Files of the same tensors in other types share what they have in common: a chunk is read, checked
and rounded once, and quantized once for all files that give the tensor the same type.

Every size is known from names, shapes and types, so nothing is buffered but the chunks in
flight; memory is bounded by `chunks.WEIGHTS` and the number of threads, not by the model.
The bytes depend on the input alone: no time stamp, no order of completion.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from qpipe import errors
from qpipe.gguf import chunks, values
from qpipe.gguf.chunks import Chunk, OutputTensor
from qpipe.gguf.reader import DEFAULT_ALIGNMENT, MAGIC
from qpipe.gguf.weight_errors import Squares
from qpipe.machine.filesystem import is_full
from qpipe.support.bounded_pool import in_order

VERSION = 3

Progress = Callable[[int, int], None]
"""Called with (bytes written, bytes to write) of tensor data after every chunk."""


@dataclass(frozen=True)
class OutputFile:
    """A file to write; ``progress`` may be told of it. ``check`` is shown the file once all of it
    but the weights is written."""

    out: Path
    metadata: Mapping[str, bytes]
    outputs: Sequence[OutputTensor]
    progress: Progress | None = None
    check: Callable[[Path], None] | None = None


def write(files: Sequence[OutputFile], *, threads: int = 1) -> list[dict[str, float]]:
    """Write files of the same source; on any error nothing is left under their names.

    Returns for each file its quantized tensors' relative errors (`weight_errors`). Tensors of one
    name have the same rows in all files. Raises `CheckpointError` for a weight that
    is no finite number, `OutOfSpaceError` for a full disk, and what a file's ``check`` raises.
    """
    with ExitStack() as stack:
        opened = [_OpenFile(file, stack.enter_context(_replacing(file.out))) for file in files]
        pool = stack.enter_context(ThreadPoolExecutor(max(1, threads)))
        for output in files[0].outputs:
            kinds = _variants([(file, file.outputs[output.name]) for file in opened])
            jobs = chunks.chunks([kind.output for kind in kinds])
            for parts in in_order(pool, jobs, ahead=2 * max(1, threads)):
                for kind, part in zip(kinds, parts, strict=True):
                    for file in kind.files:
                        file.append(output.name, part)
        return [file.errors for file in opened]


def size(metadata: Mapping[str, bytes], outputs: Sequence[OutputTensor]) -> int:
    """The bytes of the file that `write` would write."""
    data = sum(_padded(output.nbytes) for output in outputs)
    return len(header(metadata, outputs)) + data


def _padded(nbytes: int) -> int:
    return nbytes + -nbytes % DEFAULT_ALIGNMENT


def header(metadata: Mapping[str, bytes], outputs: Sequence[OutputTensor]) -> bytes:
    """Everything in front of the tensor data, padded to the alignment."""
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(outputs), len(metadata))]
    for key, value in metadata.items():
        parts += [values.pack_string(key.encode()), value]
    offset = 0
    for output in outputs:
        dims = tuple(reversed(output.shape))
        parts.append(values.pack_string(output.name.encode()))
        parts.append(struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, output.type.number, offset))
        offset += _padded(output.nbytes)
    joined = b"".join(parts)
    return joined + bytes(-len(joined) % DEFAULT_ALIGNMENT)


class _OpenFile:
    """A file while it is written: its header is, and each tensor has its place."""

    def __init__(self, file: OutputFile, stream: BinaryIO) -> None:
        self._stream, self._progress = stream, file.progress
        self.outputs = {output.name: output for output in file.outputs}
        self._written, self._total = 0, sum(output.nbytes for output in file.outputs)
        self._at: dict[str, int] = {}
        self._squares: dict[str, Squares] = {}
        stream.write(header(file.metadata, file.outputs))
        end = stream.tell()
        for output in file.outputs:
            self._at[output.name] = end
            end += _padded(output.nbytes)
        stream.truncate(end)
        stream.flush()
        if file.check:
            file.check(Path(stream.name))

    @property
    def errors(self) -> dict[str, float]:
        """The relative errors of those tensors that were quantized."""
        return {tensor: squares.relative for tensor, squares in self._squares.items()}

    def append(self, tensor: str, chunk: Chunk) -> None:
        """Write a chunk of a tensor behind those before it."""
        if self._stream.tell() != self._at[tensor]:
            self._stream.seek(self._at[tensor])
        self._stream.write(chunk.encoded.data)
        self._at[tensor] += chunk.encoded.nbytes
        self._written += chunk.encoded.nbytes
        if chunk.squares is not None:
            self._squares[tensor] = self._squares.get(tensor, Squares()) + chunk.squares
        if self._progress:
            self._progress(self._written, self._total)


@dataclass(frozen=True)
class _Variant:
    """A tensor in one type, and the files that want it so."""

    output: OutputTensor
    files: list[_OpenFile]

    def serves(self, output: OutputTensor) -> bool:
        """True if the bytes of ``output`` are the same as this tensor's."""
        first, second = self.output.imatrix, output.imatrix
        same = first is second or (
            first is not None and second is not None and np.array_equal(first, second)
        )
        return same and (self.output.type, self.output.via) == (output.type, output.via)


def _variants(outputs: Iterable[tuple[_OpenFile, OutputTensor]]) -> list[_Variant]:
    kinds: list[_Variant] = []
    for file, output in outputs:
        kind = next((kind for kind in kinds if kind.serves(output)), None)
        if kind is None:
            kinds.append(_Variant(output, [file]))
        else:
            kind.files.append(file)
    return kinds


@contextmanager
def _replacing(out: Path) -> Iterator[BinaryIO]:
    """A file that takes the name ``out`` once the block has succeeded, and vanishes otherwise."""
    partial = out.with_name(out.name + ".partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(out)
    except OSError as error:
        if is_full(error):
            raise errors.OutOfSpaceError(
                f"{out}: the disk is full; free some space there, or take old artifacts away "
                "with `qpipe gc --max-size SIZE`, then run again"
            ) from error
        raise
    finally:
        partial.unlink(missing_ok=True)
