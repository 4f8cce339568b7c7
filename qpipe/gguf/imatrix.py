"""Importance matrices: how much each column of a tensor weighs in the errors of quantizing it.

Two formats, told apart by their first bytes as llama.cpp does (common/imatrix-loader.cpp,
common_imatrix_load): a GGUF file with tensors ``NAME.in_sum2`` (sums of squared activations) and
``NAME.counts``, and the older .dat (`legacy`). What the weights are made of:
tools/quantize/quantize.cpp, load_imatrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qpipe import errors
from qpipe.gguf import legacy_imatrix, reader, values
from qpipe.gguf.categories import Category, category_of
from qpipe.gguf.reader import GGUFFile, Tensor
from qpipe.gguf.types import GGMLType
from qpipe.support.files import open_file

Floats = npt.NDArray[np.float32]

SUMS, COUNTS = ".in_sum2", ".counts"
_KEYS = ("imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size")
_NAME_BYTES = 127  # llama.h, llama_model_kv_override: what fits into val_str


@dataclass(frozen=True)
class IMatrix:
    """The weights by tensor name, flat: those of one matrix after the other.

    ``unseen`` are the matrices of a tensor (experts) that no calibration token reached; their
    weights are all 1.
    """

    path: Path
    weights: Mapping[str, Floats]
    datasets: tuple[str, ...] = ()
    chunks: int = 0
    unseen: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def of(self, name: str, shape: tuple[int, ...]) -> Floats | None:
        """The weights of tensor ``name``, numpy ``shape``, as [matrices, n_per_row].

        None where there are none. Raises `DataError` for a wrong number of them, but for token
        embeddings: they are looked up, not multiplied with, and llama-quantize lets them pass.
        """
        found = self.weights.get(name)
        if found is None:
            return None
        matrices = shape[-3] if len(shape) > 2 else 1
        if found.size != matrices * shape[-1]:
            if category_of(name) is Category.EMBEDDING:
                return None
            raise errors.DataError(
                f"{self.path}: {found.size} weights for tensor {errors.quoted(name)}, which has "
                f"{matrices} × {shape[-1]} columns; the importance matrix is another "
                "model's: make it anew"
            )
        return found.reshape(matrices, shape[-1])

    def metadata(self) -> values.Metadata:
        """The metadata that llama-quantize notes of it in the quantized file, but names without
        their folders: the same matrix gives the same bytes wherever it lies."""
        noted = {"quantize.imatrix.file": values.string(_file_name(str(self.path)))}
        if self.datasets:
            noted["quantize.imatrix.dataset"] = values.string(_file_name(self.datasets[0]))
        noted["quantize.imatrix.entries_count"] = values.u32(len(self.weights))
        if self.chunks > 0:
            noted["quantize.imatrix.chunks_count"] = values.u32(self.chunks)
        return noted


def read(path: Path) -> IMatrix:
    """The importance matrix in ``path``; `DataError` for a file that is none, or damaged."""
    with open_file(path, errors.DataError) as file:
        magic = file.read(4)
    with np.errstate(all="ignore"):  # what is no finite number is named below
        found = _gguf(reader.read(path)) if magic == reader.MAGIC else _legacy(path)
    for name, weights in found.weights.items():
        if not np.isfinite(weights).all():
            raise errors.DataError(
                f"{path}: a weight for tensor {errors.quoted(name)} is no finite number; "
                "make it anew"
            )
    return found


def _gguf(file: GGUFFile) -> IMatrix:
    missing = [key for key in _KEYS if key not in file.metadata]
    if missing:
        raise errors.DataError(
            f"{file.path}: a GGUF file, but no importance matrix: it lacks {missing[0]!r}; "
            "give a file that llama-imatrix wrote"
        )
    datasets, chunks, _ = (values.decode(file.metadata[key]) for key in _KEYS)
    if type(chunks) is not int or not 0 <= chunks < 1 << 32:
        raise errors.DataError(
            f"{file.path}: {_KEYS[1]} is {errors.quoted(chunks)}, no number of chunks; "
            "make the file anew"
        )
    weights: dict[str, Floats] = {}
    unseen: dict[str, tuple[int, ...]] = {}
    for name in sorted(_names(file)):
        sums, counts = _floats(file, name + SUMS), np.floor(_floats(file, name + COUNTS) + 0.5)
        if sums.size % counts.size:
            raise errors.DataError(
                f"{file.path}: {sums.size} sums of tensor {errors.quoted(name)} do not divide "
                f"among {counts.size} counts; make it anew"
            )
        seen = counts > 0
        rows = np.ones((counts.size, sums.size // counts.size), np.float32)
        rows[seen] = sums.reshape(rows.shape)[seen] / counts[seen, None]
        weights[name] = rows.reshape(-1)
        if not seen.all():
            unseen[name] = tuple(int(i) for i in np.flatnonzero(~seen))
    listed = tuple(str(name) for name in datasets) if isinstance(datasets, list) else ()
    return IMatrix(file.path, weights, listed, chunks, unseen)


def _names(file: GGUFFile) -> set[str]:
    return {
        name.removesuffix(suffix)
        for name in file.tensors
        for suffix in (SUMS, COUNTS)
        if name.endswith(suffix)
    }


def _floats(file: GGUFFile, name: str) -> Floats:
    tensor: Tensor | None = file.tensors.get(name)
    if tensor is None or tensor.type is not GGMLType.F32:
        what = "is missing" if tensor is None else f"is {tensor.type.name} instead of F32"
        raise errors.DataError(
            f"{file.path}: tensor {errors.quoted(name)} {what}; make the file anew"
        )
    return file.data(tensor).view("<f4").reshape(-1).astype(np.float32)


def _legacy(path: Path) -> IMatrix:
    entries, chunks, dataset = legacy_imatrix.read(path)
    weights = {
        name: sums / np.float32(calls) if calls > 0 else sums
        for name, (calls, sums) in entries.items()
    }
    return IMatrix(path, weights, (dataset,) if dataset else (), chunks)


def _file_name(path: str) -> str:
    """The last part of a path of any system, at most as long as llama-quantize keeps."""
    name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return name.encode()[:_NAME_BYTES].decode(errors="ignore")
