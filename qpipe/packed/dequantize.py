"""A checkpoint in block-scaled FP8 as one in bfloat16, file by file, for engines that quantize it.

A weight is its 8-bit number times the scale of its block, rounded to bfloat16 to the nearest: what
transformers makes of it (5.17, integrations/finegrained_fp8.py, `Fp8Dequantize`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.errors import CheckpointError
from qpipe.gguf import jsonfile
from qpipe.gguf.checkpoint import open_checkpoint
from qpipe.gguf.safetensors import StoredTensor
from qpipe.gguf.weight_files import INDEX
from qpipe.hf.implementations import without
from qpipe.machine.filesystem import link
from qpipe.packed.cast import as_floats, to_bf16
from qpipe.packed.write import TensorStream, stored, write

_SCALES = "_scale_inv"
_CONFIG = "config.json"


def fp8(folder: Path, out: Path) -> None:
    """Write the checkpoint in ``folder`` into ``out``, config.json last; other files are linked.

    Raises CheckpointError for weights in another form than matrices with a scale for each block.
    """
    opened = open_checkpoint(folder)
    fields = without(opened.config.fields)
    block = _block(folder, fields.pop("quantization_config"))
    files: dict[Path, list[TensorStream]] = {}
    for tensor in opened.tensors.values():
        if not tensor.name.endswith(_SCALES):
            entry = _entry(tensor, opened.tensors, block)
            files.setdefault(tensor.path, []).append(entry)
    for path in folder.iterdir():
        if path.is_file() and path not in files and path.name not in (_CONFIG, INDEX):
            link(path, out / path.name)
    for path, entries in files.items():
        write(out / path.name, entries)
    if (folder / INDEX).is_file():
        index = jsonfile.load(folder / INDEX)
        places = {n: file for n, file in index["weight_map"].items() if not n.endswith(_SCALES)}
        (out / INDEX).write_text(json.dumps({**index, "weight_map": places}, indent=2))
    fields.pop("torch_dtype", None)
    (out / _CONFIG).write_text(json.dumps({**fields, "dtype": "bfloat16"}, indent=2))


def _block(folder: Path, settings: Mapping[str, Any]) -> tuple[int, int]:
    match settings.get("weight_block_size"):
        case [int(high), int(wide)] if high > 0 and wide > 0:
            return high, wide
        case size:
            raise CheckpointError(
                f"{folder / _CONFIG}: quantization_config.weight_block_size is {size!r}, and only "
                "matrices with a scale for each block are dequantized for another quantization"
            )


def _entry(
    tensor: StoredTensor, tensors: Mapping[str, StoredTensor], block: tuple[int, int]
) -> TensorStream:
    if tensor.dtype != "F8_E4M3":
        return TensorStream.copy(tensor)
    scales = tensors.get(f"{tensor.name}{_SCALES}")
    blocks = tuple(-(-size // high) for size, high in zip(tensor.shape, block, strict=False))
    if scales is None or len(tensor.shape) != 2 or scales.shape != blocks:
        raise CheckpointError(
            f"{tensor.origin}: no matrix with a scale for each block of {block[0]} × {block[1]}"
        )
    size = 2 * math.prod(tensor.shape)
    return TensorStream(
        tensor.name, "BF16", tensor.shape, size, lambda: _dequantized(tensor, scales, block)
    )


def _dequantized(
    tensor: StoredTensor, scales: StoredTensor, block: tuple[int, int]
) -> Iterator[bytes]:
    rows, columns = tensor.shape
    factors = as_floats(b"".join(stored(scales)), scales.dtype).reshape(scales.shape)
    wide = np.repeat(factors, block[1], axis=1)[:, :columns]
    bits = np.memmap(tensor.path, np.uint8, "r", offset=tensor.offset, shape=(rows, columns))
    for first in range(0, rows, block[0]):
        numbers = _NUMBERS[bits[first : first + block[0]]]
        yield to_bf16(numbers * wide[first // block[0]]).tobytes()


def _table() -> npt.NDArray[np.float32]:
    """The 256 values of E4M3 without infinities (OCP 8-bit Floating Point Specification, 1.0)."""
    codes = np.arange(256)
    exponent, mantissa = (codes >> 3) & 15, (codes & 7).astype(np.float64)
    normal = (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    values = np.where(exponent == 0, mantissa / 8 * 2.0**-6, normal)
    values[(codes & 127) == 127] = np.nan
    return np.where(codes >= 128, -values, values).astype(np.float32)


_NUMBERS = _table()
