"""Writing safetensors files piece by piece, so that no tensor need be in memory whole."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qpipe.gguf.safetensors import StoredTensor

_CHUNK = 16 << 20
_LONGEST_HEADER = 100_000_000  # bytes that safetensors 0.8.0 reads


@dataclass(frozen=True)
class TensorStream:
    """A tensor to be written: ``pieces`` gives its ``nbytes`` bytes in order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    pieces: Callable[[], Iterator[bytes]]

    @classmethod
    def copy(cls, tensor: StoredTensor) -> TensorStream:
        """A tensor as it is stored elsewhere."""
        return cls(tensor.name, tensor.dtype, tensor.shape, tensor.nbytes, lambda: stored(tensor))


def write(
    path: Path, entries: Sequence[TensorStream], *, done: Callable[[int], None] | None = None
) -> None:
    """Write a new file; ``done`` is told the bytes of each tensor written.

    Source: safetensors README, "Format"; the header is padded to a multiple of 8.
    """
    with path.open("xb") as file:
        file.write(_header(entries))
        for entry in entries:
            for piece in entry.pieces():
                file.write(piece)
            if done is not None:
                done(entry.nbytes)


def _header(entries: Sequence[TensorStream]) -> bytes:
    described: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for entry in entries:
        described[entry.name] = {
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "data_offsets": [offset, offset + entry.nbytes],
        }
        offset += entry.nbytes
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def sort_metadata(file: Path) -> None:
    """Sort the entries of ``__metadata__`` in place, by name, so that the same content has the same
    bytes; no other byte of ``file`` changes.

    torchao's checkpoints have an entry for each quantized matrix.
    """
    # safetensors 0.8.0 writes them in another order each time (findings/safetensors-metadata-
    # order.sh).
    with file.open("r+b") as stored:
        length = int.from_bytes(stored.read(8), "little")
        if length > _LONGEST_HEADER:
            return
        text = stored.read(length)
        header = json.loads(text)
        entries = header.get("__metadata__") or {}
        if list(entries) == sorted(entries):
            return
        header["__metadata__"] = dict(sorted(entries.items()))
        compact = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(compact) <= length:  # as long, where the header is written as safetensors writes it
            stored.seek(8)
            stored.write(compact.ljust(length))


def stored(tensor: StoredTensor) -> Iterator[bytes]:
    """The bytes of a tensor, a chunk at a time."""
    with tensor.path.open("rb") as file:
        file.seek(tensor.offset)
        remaining = tensor.nbytes
        while remaining:
            piece = file.read(min(remaining, _CHUNK))
            remaining -= len(piece)
            yield piece
