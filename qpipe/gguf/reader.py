"""Read a GGUF file: header, metadata and tensor table, all checked before anything is used.

Weights stay on disk: a tensor is a window into a memory map. Format: ggml/docs/gguf.md;
the checks are those of gguf.cpp (gguf_init_from_file_impl), with messages that say what to do.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from qpipe import errors
from qpipe.errors import quoted
from qpipe.gguf import ftypes, types, values
from qpipe.gguf.types import GGMLType
from qpipe.support.files import open_file

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
MAX_DIMS = 4
MAX_ENTRIES = 1 << 20
"""Tensors, and metadata fields; the largest models have some thousands."""
MAX_METADATA = 1 << 28
"""Bytes of the metadata that is read; the largest vocabularies with their merges take 20 MB."""


@dataclass(frozen=True)
class Tensor:
    """One entry of the tensor table; ``offset`` counts from the start of the file.

    ``path`` is set for one that lies in another file of the same model.
    """

    name: str
    shape: tuple[int, ...]  # numpy order: rows…, weights per row
    type: GGMLType
    offset: int
    nbytes: int
    path: Path | None = None

    @property
    def n_weights(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Unread:
    """A tensor of a type that is not known here: its ``number`` in the file, its shape in numpy
    order."""

    name: str
    shape: tuple[int, ...]
    number: int


@dataclass(frozen=True)
class GGUFFile:
    """A GGUF file whose header was read and found sound; ``unread`` are tensors of unknown types,
    where the reader was to pass over them."""

    path: Path
    version: int
    metadata: values.Metadata
    tensors: dict[str, Tensor]
    unread: dict[str, Unread] = field(default_factory=dict)

    @property
    def entries(self) -> dict[str, Tensor | Unread]:
        """All tensors, those of unknown types last."""
        return {**self.tensors, **self.unread}

    @property
    def architecture(self) -> str:
        """The value of ``general.architecture``; `CheckpointError` where it is no text."""
        value = self.value("general.architecture")
        if not isinstance(value, str):
            raise _broken(self.path, f"general.architecture is {quoted(value)}, no name", _AGAIN)
        return value

    @property
    def file_type(self) -> str:
        """The quantization name; without ``general.file_type``, the type with most bytes."""
        if "general.file_type" in self.metadata:
            number = values.decode(self.metadata["general.file_type"], limit=1)
            if not isinstance(number, int):
                raise _broken(
                    self.path, f"general.file_type is {quoted(number)}, no number", _AGAIN
                )
            return ftypes.name_of(number)
        bytes_of: Counter[str] = Counter()
        for tensor in self.tensors.values():
            bytes_of[tensor.type.name] += tensor.nbytes
        return bytes_of.most_common(1)[0][0]

    @property
    def alignment(self) -> int:
        """The bytes of which tensors begin at multiples."""
        return alignment(self.path, self.metadata)

    def value(self, key: str) -> values.Value:
        """One decoded metadata value; `CheckpointError` if the file has none of that name."""
        if key not in self.metadata:
            raise _broken(
                self.path, f"it has no metadata key {quoted(key)}", "convert the model again"
            )
        return values.decode(self.metadata[key])

    def data(self, tensor: Tensor) -> npt.NDArray[np.uint8]:
        """The bytes of ``tensor`` as a read-only memory map [rows, bytes per row]."""
        import numpy as np

        rows = math.prod(tensor.shape[:-1])
        mapped: npt.NDArray[np.uint8] = np.memmap(
            tensor.path or self.path, np.uint8, "r", tensor.offset, (rows, tensor.nbytes // rows)
        )
        return mapped


def read(path: Path, *, any_type: bool = False) -> GGUFFile:
    """Open ``path``; `CheckpointError` where it is cut short, contradictory or no GGUF at all, and
    for a tensor of an unknown type, unless ``any_type`` is to be passed over."""
    with open_file(path, errors.CheckpointError) as file:
        size = os.fstat(file.fileno()).st_size
        if size < 24:
            raise _broken(path, f"it is {size} bytes long, too short for a header", _AGAIN)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return _HeaderParser(path, memoryview(mapped), any_type=any_type).parse()


def header_size(path: Path, beginning: bytes) -> int | None:
    """The bytes in front of the data of a file that begins so; None where its header is not whole.
    `CheckpointError`, which names ``path``, for one that is no GGUF or contradicts itself."""
    return _HeaderParser(path, memoryview(beginning), any_type=True).size()


_AGAIN = "download or convert it again"

_Entry: TypeAlias = "tuple[str, tuple[int, ...], GGMLType | int, int]"
"""Name, shape, type (its number where that is not known) and offset in the data."""


def _broken(path: Path, problem: str, fix: str) -> errors.CheckpointError:
    return errors.CheckpointError(f"{path}: not a usable GGUF file: {problem}; {fix}")


class _HeaderParser:
    def __init__(self, path: Path, buffer: memoryview, *, any_type: bool) -> None:
        self.path = path
        self.buffer = buffer
        self.any_type = any_type
        self.at = 0
        self.unread: dict[str, Unread] = {}

    def parse(self) -> GGUFFile:
        try:
            version, n_tensors, n_values = self._header()
            metadata = self._metadata(n_values)
            entries = [self._entry(i, n_tensors) for i in range(n_tensors)]
        except (struct.error, IndexError):
            raise _broken(
                self.path,
                f"it ends after {len(self.buffer)} bytes, in the middle of its header",
                _AGAIN,
            ) from None
        if not entries and "split.count" not in metadata:  # a first part may hold none
            raise _broken(self.path, "it holds no tensor", "give the file with the weights")
        tensors = self._placed(entries, metadata)
        return GGUFFile(self.path, version, metadata, tensors, self.unread)

    def size(self) -> int | None:
        try:
            _, n_tensors, n_values = self._header()
            metadata = self._metadata(n_values)
            for i in range(n_tensors):
                self._entry(i, n_tensors)
        except (struct.error, IndexError):
            return None
        if self.at > len(self.buffer):  # a value that goes on behind the end
            return None
        return _padded(self.at, alignment(self.path, metadata))

    def _header(self) -> tuple[int, int, int]:
        magic = bytes(self.buffer[:4])
        if magic != MAGIC:
            raise _broken(self.path, f"it starts with {magic!r} instead of {MAGIC!r}", _AGAIN)
        version, n_tensors, n_values = struct.unpack_from("<IQQ", self.buffer, 4)
        if version not in VERSIONS:
            problem = f"it has version {version}; versions 2 and 3, little endian, can be read"
            raise _broken(self.path, problem, "convert the model again with a current tool")
        for count, items in ((n_tensors, "tensors"), (n_values, "metadata fields")):
            if count > MAX_ENTRIES:
                problem = f"it claims {count:,} {items}; at most {MAX_ENTRIES:,} are read"
                raise _broken(self.path, problem, _AGAIN)
        self.at = 24
        return version, n_tensors, n_values

    def _metadata(self, count: int) -> values.Metadata:
        metadata: values.Metadata = {}
        for _ in range(count):
            key = self._string("a metadata key")
            start = self.at
            try:
                self.at = values.skip(self.buffer, start)
            except ValueError as error:
                raise _broken(self.path, f"metadata {quoted(key)} has {error}", _AGAIN) from None
            if key in metadata:
                raise _broken(self.path, f"metadata {quoted(key)} appears twice", _AGAIN)
            if self.at > MAX_METADATA:
                problem = f"its metadata takes more than {MAX_METADATA:,} bytes"
                raise _broken(self.path, problem, "leave out what is no metadata of a model")
            metadata[key] = bytes(self.buffer[start : self.at])
        return metadata

    def _entry(self, index: int, count: int) -> _Entry:
        name = self._string(f"the name of tensor {index} of {count}")
        (n_dims,) = self._unpack("<I")
        if not 1 <= n_dims <= MAX_DIMS:
            raise _broken(
                self.path, f"tensor {quoted(name)} has {n_dims} dimensions, not 1–4", _AGAIN
            )
        shape = tuple(reversed(self._unpack(f"<{n_dims}Q")))
        kind, offset = self._unpack("<IQ")
        try:
            return name, shape, types.BY_NUMBER[kind], offset
        except KeyError:
            if self.any_type:
                return name, shape, kind, offset
            problem = f"tensor {quoted(name)} has the unknown type number {kind}"
            raise _broken(
                self.path, problem, "a newer version of qpipe or gguf may know it"
            ) from None

    def _placed(self, entries: list[_Entry], metadata: values.Metadata) -> dict[str, Tensor]:
        step = alignment(self.path, metadata)
        start = _padded(self.at, step)
        tensors: dict[str, Tensor] = {}
        expected, unread_before = 0, False
        for name, shape, kind, offset in entries:
            if name in tensors or name in self.unread:
                raise _broken(self.path, f"tensor {quoted(name)} appears twice", _AGAIN)
            if not isinstance(kind, int) and (0 in shape or not kind.fits(shape[-1])):
                problem = f"tensor {quoted(name)} of type {kind.name} cannot have the shape {shape}"
                raise _broken(self.path, problem, _AGAIN)
            behind_unread = unread_before and offset > expected and offset % step == 0
            if offset != expected and not behind_unread:
                where = f"byte {offset} of the data instead of {expected}"
                problem = f"tensor {quoted(name)} starts at {where}"
                raise _broken(self.path, problem, _AGAIN)
            unread_before = isinstance(kind, int)
            if isinstance(kind, int):  # where it ends, the next one's place tells
                self.unread[name] = Unread(name, shape, kind)
                expected = offset
                continue
            nbytes = kind.tensor_bytes(shape)
            if start + offset + nbytes > len(self.buffer):
                needed = f"{start + offset}–{start + offset + nbytes}"
                ends = f"but the file ends after {len(self.buffer)}"
                problem = f"tensor {quoted(name)} needs bytes {needed}, {ends}"
                raise _broken(self.path, problem, _AGAIN)
            tensors[name] = Tensor(name, shape, kind, start + offset, nbytes)
            expected = _padded(offset + nbytes, step)
        return tensors

    def _string(self, label: str) -> str:
        (size,) = self._unpack("<Q")
        end = self.at + size
        if end > len(self.buffer):
            raise IndexError(end)
        raw, self.at = bytes(self.buffer[self.at : end]), end
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise _broken(self.path, f"{label} is no UTF-8: {raw[:32]!r}", _AGAIN) from None

    def _unpack(self, layout: str) -> tuple[int, ...]:
        unpacked = struct.unpack_from(layout, self.buffer, self.at)
        self.at += struct.calcsize(layout)
        return unpacked


def alignment(path: Path, metadata: values.Metadata) -> int:
    """The alignment that a file's metadata name, else the usual one. Raises `CheckpointError`."""
    if "general.alignment" not in metadata:
        return DEFAULT_ALIGNMENT
    value = values.decode(metadata["general.alignment"], limit=1)
    if not isinstance(value, int) or value < 1 or value & (value - 1):
        raise _broken(path, f"general.alignment is {quoted(value)}, no power of two", _AGAIN)
    return value


def _padded(at: int, alignment: int) -> int:
    return -(-at // alignment) * alignment
