"""Models, golden rows and small checkpoints for the tests of qpipe.gguf."""

from __future__ import annotations

import csv
import functools
import hashlib
import json
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qpipe.gguf import reader, safetensors

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "data" / "golden"
MODELS = {
    "stories260K": ROOT / "tests/data/models/stories260K",
    "stories-tok105": ROOT / "tests/data/models/stories-tok105",
    "qwen2-r": ROOT / "tests/data/models/qwen2-r",
    "tinystories-d256": ROOT / "qpipe/data/tinystories-d256",
}
CONVERTED = {
    "stories260K": "F32",
    "stories-tok105": "F32",
    "qwen2-r": "F16",
    "tinystories-d256": "F16",
}


class Row(NamedTuple):
    """One tensor of a golden file: shape in ggml's order, SHA-256 of its bytes."""

    tensor: str
    type: str
    shape: str
    sha256: str


@functools.cache
def golden_files(model: str) -> dict[tuple[str, str], tuple[Row, ...]]:
    """{(quantization name, "none" or "imatrix"): the tensors that llama.cpp wrote}."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in table(f"{model}.tsv"):
        rows = found.setdefault((row["ftype"], row["imatrix"]), [])
        rows.append(Row(row["tensor"], row["type"], row["shape"], row["sha256"]))
    return {key: tuple(rows) for key, rows in found.items()}


def golden_rows(
    model: str, ftype: str, *, again: bool = False, imatrix: str = "none"
) -> tuple[Row, ...]:
    """What llama.cpp made; ``again``: of the converted type, what llama-quantize then wrote."""
    rows = golden_files(model)[ftype, imatrix]
    twice = len({row.tensor for row in rows}) < len(rows)
    half = len(rows) // 2
    return (rows[half:] if again else rows[:half]) if twice else rows


def table(name: str) -> list[dict[str, str]]:
    """The rows of a table among the golden files."""
    with (GOLDEN / name).open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def imatrix_of(model: str) -> Path:
    """The importance matrix that the golden files of ``model`` were made with."""
    return GOLDEN / f"{model}.imatrix.gguf"


def golden_metadata(model: str) -> dict[str, Any]:
    """The metadata that llama.cpp's converter wrote, long arrays summarized."""
    loaded: dict[str, Any] = json.loads((GOLDEN / f"{model}.kv.json").read_text())
    return loaded


def summarized(value: Any) -> Any:
    """A metadata value as the golden files give it."""
    if not isinstance(value, list):
        return value
    digest = hashlib.sha256(json.dumps(value).encode()).hexdigest()
    return {"len": len(value), "sha256": digest, "head": value[:8]}


def rows_of(path: Path) -> tuple[Row, ...]:
    """The tensors of a file in golden form, in file order."""
    file = reader.read(path)
    return tuple(
        Row(
            tensor.name,
            tensor.type.name,
            "x".join(map(str, reversed(tensor.shape))),
            hashlib.sha256(file.data(tensor).tobytes()).hexdigest(),
        )
        for tensor in file.tensors.values()
    )


def copy_model(name: str, to: Path) -> Path:
    """A writable copy of a model."""
    shutil.copytree(MODELS[name], to)
    return to


def load_tensors(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """{name: (dtype, shape, bytes)} of a folder's model.safetensors."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    return {
        t.name: (t.dtype, t.shape, data[t.offset : t.offset + t.nbytes])
        for t in safetensors.read_header(path).values()
    }


def write_safetensors(
    path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]]
) -> None:
    """A safetensors file, written independently of the reader."""
    header: dict[str, Any] = {}
    at = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [at, at + len(data)],
        }
        at += len(data)
    write_raw(path, json.dumps(header).encode(), b"".join(t[2] for t in tensors.values()))


def write_raw(path: Path, header: bytes, data: bytes) -> None:
    """A file with a safetensors prefix, whatever the header says."""
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def edit_config(folder: Path, **changes: Any) -> None:
    """Change fields of config.json; None removes one."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def edit_tensor(folder: Path, name: str, index: int, value: float) -> None:
    """Set one element of a float32 tensor in model.safetensors."""
    path = folder / "model.safetensors"
    tensor = safetensors.read_header(path)[name]
    assert tensor.dtype == "F32"
    with path.open("r+b") as file:
        file.seek(tensor.offset + 4 * index)
        file.write(np.float32(value).tobytes())
