"""A checkpoint whose weights are quantized as one whose weights are not, file by file, for engines
that quantize it: in the precision and by the arithmetic of the library that packed them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from qpipe.gguf import jsonfile
from qpipe.gguf.computed import ComputedTensor
from qpipe.gguf.safetensors import StoredTensor
from qpipe.gguf.weight_files import INDEX
from qpipe.hf.implementations import without
from qpipe.machine.filesystem import link
from qpipe.packed import source
from qpipe.packed.cast import to_bf16
from qpipe.packed.write import TensorStream, write

_CONFIG = "config.json"
# Where tools say how a checkpoint is packed, beside config.json or in it.
_FILES = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")
_FIELDS = ("quantization_config", "compression_config", "quantization")
_TORCH = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
_ROWS_OF = 1 << 20  # weights at a time


def dequantize(folder: Path, out: Path) -> None:
    """Write the checkpoint in ``folder`` into ``out``, config.json last; other files are linked.

    Raises CheckpointError for what is damaged, or packed in a way that is not read.
    """
    opened = source.opened(folder)
    files: dict[Path, list[TensorStream]] = {}
    for tensor in opened.tensors.values():
        files.setdefault(tensor.path, []).append(_entry(tensor))
    for path in folder.iterdir():
        if path.is_file() and path not in files and path.name not in (_CONFIG, INDEX, *_FILES):
            link(path, out / path.name)
    for path, entries in files.items():
        write(out / path.name, entries)
    if (folder / INDEX).is_file():
        _index(folder, out, opened.tensors)
    fields = without(opened.config.fields)
    inside = fields.get("text_config")
    for section in (fields, inside if isinstance(inside, dict) else {}):
        for name in (*_FIELDS, "torch_dtype"):
            section.pop(name, None)
    dtype = Counter(t.dtype for t in opened.tensors.values() if isinstance(t, ComputedTensor))
    fields["dtype"] = _TORCH[dtype.most_common(1)[0][0]]
    (out / _CONFIG).write_text(json.dumps(fields, indent=2))


def _index(folder: Path, out: Path, tensors: Mapping[str, StoredTensor]) -> None:
    places = {name: tensor.path.name for name, tensor in tensors.items()}
    contents = {**jsonfile.load(folder / INDEX), "weight_map": places}
    (out / INDEX).write_text(json.dumps(contents, indent=2))


def _entry(tensor: StoredTensor) -> TensorStream:
    if not isinstance(tensor, ComputedTensor):
        return TensorStream.copy(tensor)
    return TensorStream(
        tensor.name, tensor.dtype, tensor.shape, tensor.nbytes, lambda: _rows(tensor)
    )


def _rows(tensor: ComputedTensor) -> Iterator[bytes]:
    rows, step = math.prod(tensor.shape[:-1]), max(1, _ROWS_OF // tensor.shape[-1])
    for first in range(0, rows, step):
        numbers = tensor.floats(first, min(first + step, rows))
        if tensor.dtype == "BF16":
            yield to_bf16(numbers).tobytes()
        else:
            yield numbers.astype(np.float16 if tensor.dtype == "F16" else np.float32).tobytes()
