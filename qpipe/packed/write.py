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


@dataclass(frozen=True)
class Entry:
    """A tensor to be written: ``pieces`` gives its ``nbytes`` bytes in order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    pieces: Callable[[], Iterator[bytes]]

    @classmethod
    def copy(cls, tensor: StoredTensor) -> Entry:
        """A tensor as it is stored elsewhere."""
        return cls(tensor.name, tensor.dtype, tensor.shape, tensor.nbytes, lambda: stored(tensor))


def write(
    path: Path, entries: Sequence[Entry], *, done: Callable[[int], None] | None = None
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


def _header(entries: Sequence[Entry]) -> bytes:
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


def stored(tensor: StoredTensor) -> Iterator[bytes]:
    """The bytes of a tensor, a chunk at a time."""
    with tensor.path.open("rb") as file:
        file.seek(tensor.offset)
        left = tensor.nbytes
        while left:
            piece = file.read(min(left, _CHUNK))
            left -= len(piece)
            yield piece
