"""A checkpoint in another precision, file by file, without a copy of it in memory."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.errors import CheckpointError
from qpipe.gguf import jsonfile
from qpipe.gguf.checkpoint import INDEX
from qpipe.gguf.safetensors import StoredTensor
from qpipe.gguf.sources import SafetensorsRows, bf16_to_f32

DTYPES = {"fp32": ("F32", "float32"), "fp16": ("F16", "float16"), "bf16": ("BF16", "bfloat16")}
"""By our name: safetensors' and torch's."""

_CHUNK = 1 << 22  # elements converted at a time


def cast(
    tensors: Mapping[str, StoredTensor],
    out: Path,
    *,
    dtype: str,
    progress: Callable[[int, int], None],
) -> None:
    """Write every file of a checkpoint's ``tensors`` into ``out`` with floats as ``dtype``.

    ``progress`` takes (elements done, elements in all). Raises CheckpointError for a number that
    overflows in half precision.
    """
    total = sum(tensor.nbytes for tensor in tensors.values())
    done = 0
    for path in dict.fromkeys(tensor.path for tensor in tensors.values()):
        own = [tensor for tensor in tensors.values() if tensor.path == path]
        with (out / path.name).open("xb") as file:
            file.write(_header(own, dtype))
            for tensor in own:
                for piece in _pieces(tensor, dtype):
                    file.write(piece)
                done += tensor.nbytes
                progress(done, total)


def config(fields: Mapping[str, Any], *, dtype: str) -> dict[str, Any]:
    """config.json's fields for the new precision."""
    kept = {name: value for name, value in fields.items() if name not in ("dtype", "torch_dtype")}
    return {**kept, "dtype": DTYPES[dtype][1]}


def index(source: Path, out: Path) -> None:
    """Write the index of a checkpoint in several files for its new sizes, if it has one."""
    if (source / INDEX).is_file():
        found = jsonfile.load(source / INDEX)
        size = sum(part.stat().st_size for part in out.glob("*.safetensors"))
        found["metadata"] = {**(found.get("metadata") or {}), "total_size": size}
        (out / INDEX).write_text(json.dumps(found, indent=2))


def _header(tensors: list[StoredTensor], dtype: str) -> bytes:
    """A safetensors file's beginning (its README, "Format"), padded to a multiple of 8."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        stored = DTYPES[dtype][0] if _is_float(tensor) else tensor.dtype
        size = tensor.nbytes if not _is_float(tensor) else _count(tensor) * _width(stored)
        entries[tensor.name] = {
            "dtype": stored,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _is_float(tensor: StoredTensor) -> bool:
    return tensor.dtype in SafetensorsRows.DTYPES


def _count(tensor: StoredTensor) -> int:
    return int(np.prod(tensor.shape, dtype=np.int64))


def _width(stored: str) -> int:
    return 4 if stored == "F32" else 2


def _pieces(tensor: StoredTensor, dtype: str) -> Iterator[bytes]:
    if tensor.nbytes == 0:
        return
    kind = SafetensorsRows.DTYPES.get(tensor.dtype, "|u1")
    stored = np.memmap(tensor.path, kind, "r", tensor.offset, (tensor.nbytes // int(kind[2]),))
    for start in range(0, len(stored), _CHUNK):
        piece = np.asarray(stored[start : start + _CHUNK])
        if not _is_float(tensor) or tensor.dtype == DTYPES[dtype][0]:
            yield piece.tobytes()
        else:
            floats = bf16_to_f32(piece) if tensor.dtype == "BF16" else piece.astype(np.float32)
            yield _encoded(floats, dtype, tensor)


def _encoded(floats: npt.NDArray[np.float32], dtype: str, tensor: StoredTensor) -> bytes:
    if dtype == "fp32":
        return floats.tobytes()
    if dtype == "bf16":
        return _to_bf16(floats).tobytes()
    with np.errstate(over="ignore"):
        half = floats.astype(np.float16)
    if np.isinf(half).any() and not np.isinf(floats).any():
        raise CheckpointError(
            f"{tensor.origin}: holds {float(np.abs(floats).max()):g}, which fp16 cannot (up to "
            "65504); use bf16 or fp32"
        )
    return half.tobytes()


def _to_bf16(floats: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Rounded to the nearest, ties to even, as torch does; a NaN stays one."""
    bits = floats.view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(floats), 0x7FC0, rounded).astype(np.uint16)
