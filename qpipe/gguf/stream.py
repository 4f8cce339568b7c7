"""Write GGUF files in one pass over their source: headers first, then each tensor chunk by chunk.

Files of the same tensors in other types share what they have in common: a chunk is read, checked
and rounded once, and quantized once for all files that give the tensor the same type.

Every size is known from names, shapes and types, so nothing is buffered but the chunks in
flight; memory is bounded by `chunks.WEIGHTS` and the number of threads, not by the model.
The bytes depend on the input alone: no time stamp, no order of completion.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np

from qpipe import errors
from qpipe.gguf import chunks, values
from qpipe.gguf.chunks import Chunk, OutputTensor
from qpipe.gguf.lattices import Kept
from qpipe.gguf.reader import DEFAULT_ALIGNMENT, MAGIC
from qpipe.gguf.weight_errors import Squares
from qpipe.machine.filesystem import is_full
from qpipe.support import hashing
from qpipe.support.bounded_pool import in_order
from qpipe.support.hashing import Buffer, Sealed

VERSION = 3

Progress = Callable[[int, int], None]
"""Called with (bytes written, bytes to write) of tensor data after every chunk."""


@dataclass(frozen=True)
class Written:
    """Tensors of a file: the relative errors (`weight_errors`) of those that were quantized, and
    what those ``kept`` that lie on a lattice."""

    errors: Mapping[str, float] = field(default_factory=dict)
    kept: Mapping[str, Kept] = field(default_factory=dict)


@dataclass(frozen=True)
class OutputFile:
    """A file to write; ``progress`` may be told of it. ``check`` is shown the file once all of it
    but the weights is written. ``finish`` may give values of metadata that come out of writing, in
    as many bytes as those before; it may also refuse the file. ``hashed`` is given the digest of
    the whole file, which is computed meanwhile, where it is written from front to end: unless
    ``finish`` gave any, or its tensors are in another order than those of a file before it."""

    out: Path
    metadata: Mapping[str, bytes]
    outputs: Sequence[OutputTensor]
    progress: Progress | None = None
    check: Callable[[Path], None] | None = None
    finish: Callable[[Written], Mapping[str, bytes]] | None = None
    hashed: Callable[[Sealed], None] | None = None


def write(files: Sequence[OutputFile], *, threads: int = 1) -> list[Written]:
    """Write files of the same source; on any error nothing is left under their names.

    Tensors of one name have the same rows in all files. Raises `CheckpointError` for a weight that
    is no finite number, `OutOfSpaceError` for a full disk, and what a file's ``check`` or
    ``finish`` raises.
    """
    threads = max(1, threads)
    with ExitStack() as stack:
        names = [output.name for output in files[0].outputs]
        opened = [
            stack.enter_context(_OpenFile(file, stack.enter_context(_replacing(file.out)), names))
            for file in files
        ]
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        # What comes by itself is in memory from its chunk's turn on, and comes quickly enough.
        once = any(isinstance(output.rows, chunks.OnceRead) for output in files[0].outputs)
        ahead = threads if once else 2 * threads
        for kinds, parts in in_order(pool, _jobs(files[0].outputs, opened), ahead=ahead):
            for kind, part in zip(kinds, parts, strict=True):
                for file in kind.files:
                    file.append(kind.output.name, part)
        written = [file.finished() for file in opened]
        sealed = [file.sealed() for file in opened]
    for asked, seal in zip(files, sealed, strict=True):
        if asked.hashed is not None and seal is not None:
            asked.hashed(seal)
    return written


_Made: TypeAlias = "tuple[list[_Variant], list[Chunk]]"


def _jobs(
    outputs: Sequence[OutputTensor], opened: Sequence[_OpenFile]
) -> Iterator[Callable[[], _Made]]:
    """Yield a function for each chunk of all tensors, in order: where one has too few chunks for
    all threads, or comes to its end, they go on with the next."""

    def made(kinds: list[_Variant], job: Callable[[], list[Chunk]]) -> _Made:
        return kinds, job()

    for output in outputs:
        kinds = _variants([(file, file.outputs[output.name]) for file in opened])
        for job in chunks.chunks([kind.output for kind in kinds]):
            yield partial(made, kinds, job)


def size(metadata: Mapping[str, bytes], outputs: Sequence[OutputTensor]) -> int:
    """The bytes of the file that `write` would write."""
    data = sum(padded(output.nbytes) for output in outputs)
    return len(header(metadata, outputs)) + data


def padded(nbytes: int) -> int:
    """The bytes that a tensor of so many takes in a file, up to the next."""
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
        offset += padded(output.nbytes)
    joined = b"".join(parts)
    return joined + bytes(-len(joined) % DEFAULT_ALIGNMENT)


class _OpenFile:
    """A file while it is written, its tensors in the order of ``names``: its header is, and each
    tensor has its place."""

    def __init__(self, file: OutputFile, stream: BinaryIO, names: Sequence[str]) -> None:
        self._file, self._stream = file, stream
        self.outputs = {output.name: output for output in file.outputs}
        self._written, self._total = 0, sum(output.nbytes for output in file.outputs)
        self._at: dict[str, int] = {}
        self._squares: dict[str, Squares] = {}
        self._kept: dict[str, Kept] = {}
        head = header(file.metadata, file.outputs)
        stream.write(head)
        self._end = len(head)
        for output in file.outputs:
            self._at[output.name] = self._end
            self._end += padded(output.nbytes)
        stream.truncate(self._end)
        stream.flush()
        if file.check:
            file.check(Path(stream.name))
        forward = [*self._at] == [*names]
        self._hash = hashing.Behind(str(file.out)) if file.hashed and forward else None
        self._hashed = 0
        self._digest(head, 0)

    def __enter__(self) -> _OpenFile:
        return self

    def __exit__(self, *error: object) -> None:
        if self._hash is not None:
            self._hash.close()

    def _digest(self, data: Buffer, at: int) -> None:
        """Have bytes hashed that were written ``at`` a place behind those before, with the zeros in
        between; whoever writes elsewhere is not followed."""
        if self._hash is None:
            return
        if at < self._hashed:
            self._hash.close()
            self._hash = None
            return
        for gap in hashing.zeros(at - self._hashed):
            self._hash.add(gap)
        self._hash.add(data)
        self._hashed = at + len(data)

    def sealed(self) -> Sealed | None:
        """The digest of the file as it is now, None where it was not to be hashed; ends writing."""
        self._digest(b"", self._end)
        self._stream.flush()
        if self._hash is None:
            return None
        stat = os.fstat(self._stream.fileno())
        return Sealed(self._hash.close(), stat.st_size, stat.st_mtime_ns, stat.st_ino)

    def finished(self) -> Written:
        """Return what writing brought out, and have the header say so too."""
        errors = {tensor: squares.relative for tensor, squares in self._squares.items()}
        written = Written(errors, self._kept)
        if self._file.finish and (fields := self._file.finish(written)):
            metadata = self._file.metadata
            assert {key: len(metadata[key]) for key in fields} == {
                key: len(value) for key, value in fields.items()
            }, fields
            head = header({**metadata, **fields}, self._file.outputs)
            self._stream.seek(0)
            self._stream.write(head)
            self._digest(head, 0)
        return written

    def append(self, tensor: str, chunk: Chunk) -> None:
        """Write a chunk of a tensor behind those before it."""
        if self._stream.tell() != self._at[tensor]:
            self._stream.seek(self._at[tensor])
        data = chunk.encoded.data.cast("B")
        self._stream.write(data)
        self._digest(data, self._at[tensor])
        self._at[tensor] += chunk.encoded.nbytes
        self._written += chunk.encoded.nbytes
        if chunk.squares is not None:
            self._squares[tensor] = self._squares.get(tensor, Squares()) + chunk.squares
        if chunk.kept is not None:
            self._kept[tensor] = self._kept.get(tensor, Kept()) + chunk.kept
        if self._file.progress:
            self._file.progress(self._written, self._total)


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
        mine = (self.output.type, self.output.via, self.output.scales)
        return same and mine == (output.type, output.via, output.scales)


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
