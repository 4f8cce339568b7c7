"""Read one safetensors file: its header checked in full before any weight is touched.

Format (huggingface/safetensors README, "Format"): 8 bytes little-endian header length, a JSON
object {tensor: {dtype, shape, data_offsets}}, then the data, which the tensors must fill without
overlap and without a gap. The safetensors package checks the same; this reader exists for
messages that name tensor, numbers and fix, and to map rows instead of loading tensors.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpipe import errors
from qpipe.errors import quoted
from qpipe.gguf import jsonfile
from qpipe.support.files import open_file

MAX_HEADER = 100_000_000  # safetensors/src/tensor.rs, MAX_HEADER_SIZE
MAX_DIMS = 64  # as numpy and torch have at most

_CHUNK = 16 << 20

DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
# safetensors/src/tensor.rs, Dtype::bitsize: elements of less than a byte lie side by side.
DTYPE_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6} | {n: 8 * b for n, b in DTYPE_BYTES.items()}

_POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class StoredTensor:
    """A tensor and where it lies: ``offset`` counts from the start of ``path``."""

    path: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int

    @property
    def origin(self) -> str:
        """The tensor and file to blame."""
        return f"{self.path}: tensor {quoted(self.name)}"


def same(one: StoredTensor, other: StoredTensor) -> bool:
    """True if two tensors hold the same bytes; reads them only as far as they do."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    with one.path.open("rb") as first, other.path.open("rb") as second:
        first.seek(one.offset)
        second.seek(other.offset)
        for at in range(0, one.nbytes, _CHUNK):
            length = min(_CHUNK, one.nbytes - at)
            if first.read(length) != second.read(length):
                return False
    return True


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of ``path`` by name, sorted by name.

    Raises `CheckpointError` for a file that is missing, cut short, or whose header does not
    describe its data exactly.
    """
    header, start, size = _raw_header(path)
    tensors = {}
    for name in sorted(header):
        if name != "__metadata__":
            tensors[name] = _tensor(path, name, header[name], start)
    _check_layout(path, list(tensors.values()), start, size)
    return tensors


def _raw_header(path: Path) -> tuple[dict[str, Any], int, int]:
    """(the JSON header, where the data starts, the size of the file)."""
    if not os.path.lexists(path):
        raise errors.CheckpointError(f"{path}: missing; download the checkpoint again")
    with open_file(path, errors.CheckpointError) as file:
        size = os.fstat(file.fileno()).st_size
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        text = file.read(length) if 0 < length <= min(size - 8, MAX_HEADER) else None
        file.seek(0)
        head = b"" if text is not None else file.read(len(_POINTER))
    if is_pointer(head):
        raise errors.CheckpointError(
            f"{path}: this is a pointer of git LFS and not the file itself: run `git lfs pull` in "
            "the repository's folder"
        )
    if text is None:
        problem = f"its header claims {length} bytes, the file has {size}"
        raise _broken(path, problem if len(prefix) == 8 else f"it is only {size} bytes long")
    try:
        return jsonfile.parse(text), 8 + length, size
    except jsonfile.DuplicateKeyError as error:
        raise _broken(path, f"in its header {error}") from None
    except ValueError as error:
        raise _broken(path, f"its header is no JSON object ({error})") from None


def is_pointer(head: bytes) -> bool:
    """True if ``head`` begins the pointer that git LFS leaves where a file was not fetched."""
    return head.startswith(_POINTER)


def _tensor(path: Path, name: str, entry: Any, start: int) -> StoredTensor:
    where = f"tensor {quoted(name)}"
    if not isinstance(entry, dict):
        raise _broken(path, f"{where} is described by {entry!r:.60}, not by an object")
    dtype: Any = entry.get("dtype")
    shape: Any = entry.get("shape")
    offsets: Any = entry.get("data_offsets")
    if not isinstance(dtype, str):
        raise _broken(path, f"{where} has the unknown dtype {dtype!r:.60}")
    if dtype not in DTYPE_BITS:
        raise errors.CheckpointError(
            f"{path}: {where} has the unknown dtype {dtype!r:.60}; a newer version of qpipe may "
            "know it"
        )
    if not _counts(shape):
        raise _broken(path, f"{where} has the shape {shape!r:.60}")
    if not _counts(offsets) or len(offsets) != 2 or offsets[1] < offsets[0]:
        raise _broken(path, f"{where} has the data_offsets {offsets!r:.60}")
    needed, rest = divmod(math.prod(shape) * DTYPE_BITS[dtype], 8)
    if rest:
        raise _broken(path, f"{where} is {dtype} {shape}, which is no whole number of bytes")
    if offsets[1] - offsets[0] != needed:
        raise _broken(
            path,
            f"{where} is {dtype} {shape}, so {needed} bytes, but its data_offsets {offsets} "
            f"span {offsets[1] - offsets[0]}",
        )
    return StoredTensor(path, name, dtype, tuple(shape), start + offsets[0], needed)


def _counts(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= MAX_DIMS
        and all(type(n) is int and 0 <= n < 1 << 63 for n in value)
    )


def _check_layout(path: Path, tensors: list[StoredTensor], start: int, size: int) -> None:
    """The tensors must fill the rest of the file, one behind the other."""
    expected = start
    for tensor in sorted(tensors, key=lambda t: (t.offset, t.nbytes)):
        if tensor.offset != expected:
            kind = "overlaps the tensor before it" if tensor.offset < expected else "leaves a gap"
            raise _broken(
                path,
                f"tensor {quoted(tensor.name)} {kind}: it starts at byte {tensor.offset - start} "
                f"of the data instead of {expected - start}",
            )
        expected += tensor.nbytes
        if expected > size:
            raise _broken(
                path,
                f"it is truncated: tensor {quoted(tensor.name)} needs bytes "
                f"{tensor.offset}–{expected}, the file ends after {size}",
            )
    if expected != size:
        raise _broken(path, f"{size - expected} bytes follow the last tensor")


def _broken(path: Path, problem: str) -> errors.CheckpointError:
    return errors.CheckpointError(
        f"{path}: not a usable safetensors file: {problem}; download it again"
    )
