"""GGUF in F32, F16 or BF16 → quantized GGUF, byte for byte what llama-quantize writes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from qpipe import errors
from qpipe.gguf import imatrix as matrices
from qpipe.gguf import mixture, reader, stream, types, values, weighting
from qpipe.gguf.facts import Facts, facts
from qpipe.gguf.ftypes import FileType
from qpipe.gguf.imatrix import IMatrix
from qpipe.gguf.mixture import Wanted
from qpipe.gguf.model import Model
from qpipe.gguf.reader import GGUFFile
from qpipe.gguf.sources import GGUFRows

QUANTIZATION_VERSION = 2  # ggml.h, GGML_QNT_VERSION

_T = TypeVar("_T", bound=mixture.Typed)


@dataclass(frozen=True)
class Quantized:
    """What was written; ``notes`` tell what the importance matrix did not cover."""

    facts: Facts
    notes: tuple[str, ...]


def quantize(
    source: Path,
    out: Path,
    *,
    ftype: str | Wanted,
    imatrix: Path | None = None,
    threads: int = 1,
    progress: stream.Progress | None = None,
) -> Quantized:
    """Write ``source`` to ``out`` under the quantization name ``ftype``, or as `Wanted` says.

    ``imatrix`` is an importance matrix file. Rows are quantized by ``threads`` threads; the bytes
    do not depend on their number.

    Raises `RecipeError` for an unknown name or type, a wish without effect, or a type that needs
    an importance matrix where there is none; `CheckpointError` for a source that is damaged,
    already quantized or holds NaN or infinity; `DataError` for an unusable importance matrix;
    `OutOfSpaceError`.
    """
    wanted = Wanted.of(ftype) if isinstance(ftype, str) else ftype
    file = reader.read(source)
    if "split.count" in file.metadata:
        raise errors.CheckpointError(
            f"{source}: is one part of a split GGUF model; join the parts with "
            "llama-gguf-split --merge and give the joined file"
        )
    weights = None if imatrix is None else matrices.read(imatrix)
    outputs = plan(file, wanted, weights)
    size = stream.write(
        out,
        metadata(file.metadata, wanted.ftype, weights),
        outputs,
        threads=threads,
        progress=progress,
    )
    found = facts(
        outputs, architecture=file.architecture, file_type=wanted.ftype.name, file_bytes=size
    )
    return Quantized(found, () if weights is None else weighting.notes(outputs, weights))


def plan(file: GGUFFile, wanted: Wanted, weights: IMatrix | None) -> list[stream.Output]:
    """The tensors to write, in llama-quantize's order, each with its type and its weights."""
    ordered = by_layer(file.tensors.values())
    model = Model.of(file.metadata, file.tensors)
    chosen = mixture.choose(ordered, model, wanted, has_imatrix=weights is not None)
    for tensor in ordered:
        if chosen[tensor.name] != tensor.type and tensor.type not in types.FLOATS:
            raise errors.CheckpointError(
                f"{file.path}: tensor {tensor.name!r} is already {tensor.type.name}; quantizing "
                "twice loses more than either: give the F32, F16 or BF16 file instead"
            )
    outputs = [
        stream.Output(tensor.name, tensor.shape, chosen[tensor.name], GGUFRows(file, tensor))
        for tensor in ordered
    ]
    return weighting.weighted(outputs, weights, wanted.ftype)


def metadata(source: values.Metadata, ftype: FileType, weights: IMatrix | None) -> values.Metadata:
    """The source's metadata with the two keys that llama-quantize sets moved to the end, and
    what it notes of the importance matrix."""
    dropped = {"general.quantization_version", "general.file_type", "general.alignment"}
    kept = {key: value for key, value in source.items() if key not in dropped}
    kept["general.quantization_version"] = values.u32(QUANTIZATION_VERSION)
    kept["general.file_type"] = values.u32(ftype.number)
    noted = {} if weights is None else weights.metadata()
    return {key: value for key, value in kept.items() if key not in noted} | noted


def by_layer(tensors: Iterable[_T]) -> Sequence[_T]:
    """Tensors outside the layers first, then layer by layer (llama-model-loader.h,
    weight_name_comparer)."""

    def place(tensor: _T) -> tuple[int, str]:
        layer = re.match(r"blk\.(\d+)\.", tensor.name)
        return (int(layer[1]) if layer else -1, tensor.name)

    return sorted(tensors, key=place)
