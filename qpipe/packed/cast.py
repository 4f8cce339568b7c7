"""A checkpoint in another precision, file by file, without a copy of it in memory."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.errors import CheckpointError
from qpipe.gguf import jsonfile
from qpipe.gguf.rows import SafetensorsRows, bf16_to_f32
from qpipe.gguf.safetensors import StoredTensor
from qpipe.gguf.weight_files import INDEX
from qpipe.packed.write import TensorStream, stored, write

DTYPES = {"fp32": ("F32", "float32"), "fp16": ("F16", "float16"), "bf16": ("BF16", "bfloat16")}
"""By our name: safetensors' and torch's."""

_WIDTHS = {"F32": 4, "F16": 2, "BF16": 2}


def cast(
    tensors: Mapping[str, StoredTensor],
    out: Path,
    *,
    dtype: str,
    progress: Callable[[int, int], None],
) -> None:
    """Write every file of a checkpoint's ``tensors`` into ``out`` with floats as ``dtype``.

    ``progress`` takes (bytes done, bytes in all). Raises CheckpointError for a number that
    overflows in half precision.
    """
    entries: dict[Path, list[TensorStream]] = {}
    for tensor in tensors.values():
        entries.setdefault(tensor.path, []).append(_entry(tensor, dtype))
    total = sum(entry.nbytes for own in entries.values() for entry in own)
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        progress(done, total)

    for path, own in entries.items():
        write(out / path.name, own, done=count)


def config(fields: Mapping[str, Any], *, dtype: str) -> dict[str, Any]:
    """config.json's fields for the new precision."""
    others = {name: value for name, value in fields.items() if name not in ("dtype", "torch_dtype")}
    return {**others, "dtype": DTYPES[dtype][1]}


def index(source: Path, out: Path) -> None:
    """Write the index of a checkpoint in several files for its new sizes, if it has one."""
    if (source / INDEX).is_file():
        contents = jsonfile.load(source / INDEX)
        size = sum(part.stat().st_size for part in out.glob("*.safetensors"))
        contents["metadata"] = {**(contents.get("metadata") or {}), "total_size": size}
        (out / INDEX).write_text(json.dumps(contents, indent=2))


def _entry(tensor: StoredTensor, dtype: str) -> TensorStream:
    target = DTYPES[dtype][0]
    if tensor.dtype not in _WIDTHS or tensor.dtype == target:
        return TensorStream.copy(tensor)
    size = math.prod(tensor.shape) * _WIDTHS[target]
    return TensorStream(tensor.name, target, tensor.shape, size, lambda: _converted(tensor, dtype))


def _converted(tensor: StoredTensor, dtype: str) -> Iterator[bytes]:
    for piece in stored(tensor):
        floats = as_floats(piece, tensor.dtype)
        if dtype == "fp32":
            yield floats.tobytes()
        elif dtype == "bf16":
            yield to_bf16(floats).tobytes()
        else:
            yield _to_fp16(floats, tensor).tobytes()


def as_floats(piece: bytes, dtype: str) -> npt.NDArray[np.float32]:
    """Bytes of a float tensor as float32, exactly."""
    numbers = np.frombuffer(piece, SafetensorsRows.DTYPES[dtype])
    return bf16_to_f32(numbers) if dtype == "BF16" else numbers.astype(np.float32)


def _to_fp16(floats: npt.NDArray[np.float32], tensor: StoredTensor) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = floats.astype(np.float16)
    if np.isinf(half).any() and not np.isinf(floats).any():
        raise CheckpointError(
            f"{tensor.origin}: holds {float(np.abs(floats).max()):g}, which fp16 cannot (up to "
            "65504); use bf16 or fp32"
        )
    return half


def to_bf16(floats: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Rounded to the nearest, ties to even, as torch does; a NaN stays one."""
    bits = floats.view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(floats), 0x7FC0, rounded).astype(np.uint16)
