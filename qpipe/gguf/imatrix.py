"""Importance matrices: how much each column of a tensor weighs in the errors of quantizing it.

Two kinds of file, told apart by their first bytes as llama.cpp does (common/imatrix-loader.cpp,
common_imatrix_load): a GGUF file with tensors ``NAME.in_sum2`` (sums of squared activations) and
``NAME.counts``, which is written too, and the older .dat. What the weights are made of:
tools/quantize/quantize.cpp, load_imatrix.

The older is numbers in a row, little endian, no header: int32 n; n times: int32 length, name, int32
calls, int32 count, count float32 sums (per call); then, in newer files, int32 chunks, int32 length,
name of the calibration text (tools/imatrix/imatrix.cpp, save_imatrix_legacy;
common/imatrix-loader.cpp, common_imatrix_load_legacy).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qpipe import errors
from qpipe.gguf import reader, stream, values
from qpipe.gguf.categories import Category, category_of
from qpipe.gguf.chunks import OutputTensor
from qpipe.gguf.reader import GGUFFile, Tensor
from qpipe.gguf.types import GGMLType
from qpipe.support.files import open_file, read_file

Floats = npt.NDArray[np.float32]

SUMS, COUNTS = ".in_sum2", ".counts"
_KEYS = ("imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size")
_MOST_ENTRIES = 1 << 20
_LARGEST = 1 << 32  # bytes of a .dat: a gigabyte is what a model of hundreds of experts needs
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
        weights = self.weights.get(name)
        if weights is None:
            return None
        matrices = shape[-3] if len(shape) > 2 else 1
        if weights.size != matrices * shape[-1]:
            # They are looked up, not multiplied with; llama-quantize (0.5.0) lets them pass.
            if category_of(name) is Category.EMBEDDING:
                return None
            raise errors.DataError(
                f"{self.path}: {weights.size} weights for tensor {errors.quoted(name)}, which has "
                f"{matrices} × {shape[-1]} columns; the importance matrix is another "
                "model's: make it anew"
            )
        return weights.reshape(matrices, shape[-1])

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
        matrix = _gguf(reader.read(path)) if magic == reader.MAGIC else _legacy(path)
    for name, weights in matrix.weights.items():
        if not np.isfinite(weights).all():
            raise errors.DataError(
                f"{path}: a weight for tensor {errors.quoted(name)} is no finite number; "
                "make it anew"
            )
    return matrix


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
        reached = counts > 0
        rows = np.ones((counts.size, sums.size // counts.size), np.float32)
        rows[reached] = sums.reshape(rows.shape)[reached] / counts[reached, None]
        weights[name] = rows.reshape(-1)
        if not reached.all():
            unseen[name] = tuple(int(i) for i in np.flatnonzero(~reached))
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
        problem = "is missing" if tensor is None else f"is {tensor.type.name} instead of F32"
        raise errors.DataError(
            f"{file.path}: tensor {errors.quoted(name)} {problem}; make the file anew"
        )
    return file.data(tensor).view("<f4").reshape(-1).astype(np.float32)


def _legacy(path: Path) -> IMatrix:
    entries, chunks, dataset = _legacy_entries(path)
    weights = {
        name: sums / np.float32(calls) if calls > 0 else sums
        for name, (calls, sums) in entries.items()
    }
    return IMatrix(path, weights, (dataset,) if dataset else (), chunks)


def _legacy_entries(path: Path) -> tuple[dict[str, tuple[int, Floats]], int, str]:
    """({tensor: (calls, sums)}, chunks, calibration text) of a .dat; 0 and "" where it does not
    tell.

    Raises `DataError` for a file that is cut short or holds something else.
    """
    parser = _DatParser(path, read_file(path, errors.DataError, most=_LARGEST))
    n_entries = parser.integer()
    if not 1 <= n_entries <= _MOST_ENTRIES:
        if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in parser.data[:4]):
            raise parser.broken(f"it is a text, and begins with {parser.data[:24]!r}")
        raise parser.broken(f"it starts with {n_entries} as the number of its tensors")
    entries: dict[str, tuple[int, Floats]] = {}
    for _ in range(n_entries):
        name = parser.text()
        calls = parser.integer()
        entries[name] = calls, parser.floats(parser.integer(), name)
    if parser.ended:
        return entries, 0, ""
    chunks = parser.integer()
    return entries, chunks, "" if parser.ended else parser.text()


class _DatParser:
    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        self.data = data
        self.at = 0

    @property
    def ended(self) -> bool:
        return self.at == len(self.data)

    def broken(self, problem: str) -> errors.DataError:
        return errors.DataError(
            f"{self.path}: no importance matrix, neither GGUF nor .dat: {problem}; "
            "give a file that llama-imatrix wrote"
        )

    def integer(self) -> int:
        return int(struct.unpack("<i", self._take(4))[0])

    def text(self) -> str:
        raw = self._take(self.integer())
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise self.broken(f"a name is no UTF-8: {raw[:32]!r}") from None

    def floats(self, count: int, name: str) -> Floats:
        if count < 1:
            raise self.broken(f"tensor {errors.quoted(name)} has {count} values")
        return np.frombuffer(self._take(4 * count), "<f4").astype(np.float32)

    def _take(self, size: int) -> bytes:
        end = self.at + size
        if size < 0 or end > len(self.data):
            raise self.broken(f"it ends after {len(self.data)} bytes, amid byte {self.at}'s item")
        chunk, self.at = self.data[self.at : end], end
        return chunk


def _file_name(path: str) -> str:
    """The last part of a path of any system, at most as long as llama-quantize keeps."""
    name = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return name.encode()[:_NAME_BYTES].decode(errors="ignore")


@dataclass(frozen=True)
class _Rows:
    origin: str
    data: Floats
    type: GGMLType = GGMLType.F32

    def floats(self, start: int, stop: int) -> Floats:
        return self.data[start:stop]

    def raw(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        return np.ascontiguousarray(self.data[start:stop], "<f4").view(np.uint8)


def write(
    out: Path,
    entries: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    *,
    datasets: Sequence[str],
    chunks: int,
    chunk_size: int,
) -> None:
    """Write an importance matrix as ``out``, a GGUF file; the same arguments give the same bytes.

    Keys, tensors, shapes and their order are those of llama-imatrix (tools/imatrix/imatrix.cpp,
    IMatrixCollector::save_imatrix); the statistics that newer versions add are for people, not for
    quantizing, and are left out.

    ``entries`` holds (sums of squares, counts) by tensor name: one count, or one for each matrix of
    a tensor of experts, whose sums come in that order. On any error nothing is left under ``out``.
    """
    metadata = {
        "general.type": values.string("imatrix"),
        "imatrix.datasets": values.strings([name.encode() for name in datasets]),
        "imatrix.chunk_count": values.u32(chunks),
        "imatrix.chunk_size": values.u32(chunk_size),
    }
    stream.write([stream.OutputFile(out, metadata, list(_outputs(out, entries)))])


def _outputs(
    out: Path, entries: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]
) -> Iterator[OutputTensor]:
    for name in sorted(entries):
        sums, counts = (np.asarray(part, np.float32).ravel() for part in entries[name])
        assert sums.size % counts.size == 0, (name, sums.size, counts.size)
        for suffix, part in ((SUMS, sums), (COUNTS, counts)):
            rows = part.reshape(counts.size, -1)
            # ggml 0.26.0 counts no dimensions of 1 at the end, which is the front here.
            shape = rows.shape if len(rows) > 1 else rows.shape[1:]
            origin = f"{out}: tensor {name + suffix!r}"
            yield OutputTensor(name + suffix, shape, GGMLType.F32, _Rows(origin, rows))
