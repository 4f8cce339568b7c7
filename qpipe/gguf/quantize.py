"""GGUF in F32, F16 or BF16 → quantized GGUF, byte for byte what llama-quantize writes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from qpipe import errors
from qpipe.gguf import ftypes, mixture, reader, stream, types, values
from qpipe.gguf.facts import Facts, facts
from qpipe.gguf.reader import GGUFFile, Tensor
from qpipe.gguf.sources import GGUFRows

QUANTIZATION_VERSION = 2  # ggml.h, GGML_QNT_VERSION


def quantize(
    source: Path,
    out: Path,
    *,
    ftype: str,
    tensor_types: Mapping[str, str] | None = None,
    threads: int = 1,
    progress: stream.Progress | None = None,
) -> Facts:
    """Write ``source`` to ``out`` under the quantization name ``ftype``.

    ``tensor_types`` maps regular expressions over tensor names to types and goes before the
    name's own rules; where several match, the last one counts. Rows are quantized by
    ``threads`` threads; the bytes do not depend on their number.

    Raises `RecipeError` for an unknown name, type or a rule without effect, `CheckpointError`
    for a source that is damaged, already quantized or holds NaN or infinity, `OutOfSpaceError`.
    """
    file = reader.read(source)
    if "split.count" in file.metadata:
        raise errors.CheckpointError(
            f"{source}: is one part of a split GGUF model; join the parts with "
            "llama-gguf-split --merge and give the joined file"
        )
    name = ftypes.file_type(ftype)
    outputs = plan(file, name, mixture.overrides(tensor_types or {}))
    size = stream.write(out, _metadata(file, name), outputs, threads=threads, progress=progress)
    return facts(outputs, architecture=file.architecture, file_type=name.name, file_bytes=size)


def plan(
    file: GGUFFile, ftype: ftypes.FileType, rules: list[mixture.Override]
) -> list[stream.Output]:
    """The tensors to write, in llama-quantize's order, each with its type."""
    ordered = sorted(file.tensors.values(), key=_by_layer)
    chosen = mixture.choose(ordered, ftype, mixture.Model.of(file), rules)
    for tensor in ordered:
        if chosen[tensor.name] != tensor.type and tensor.type not in types.FLOATS:
            raise errors.CheckpointError(
                f"{file.path}: tensor {tensor.name!r} is already {tensor.type.name}; quantizing "
                "twice loses more than either: give the F32, F16 or BF16 file instead"
            )
    return [
        stream.Output(tensor.name, tensor.shape, chosen[tensor.name], GGUFRows(file, tensor))
        for tensor in ordered
    ]


def _metadata(file: GGUFFile, ftype: ftypes.FileType) -> values.Metadata:
    """The source's metadata with the two keys that llama-quantize sets moved to the end."""
    dropped = {"general.quantization_version", "general.file_type", "general.alignment"}
    kept = {key: value for key, value in file.metadata.items() if key not in dropped}
    return kept | {
        "general.quantization_version": values.u32(QUANTIZATION_VERSION),
        "general.file_type": values.u32(ftype.number),
    }


def _by_layer(tensor: Tensor) -> tuple[int, str]:
    """Tensors outside the layers first, then layer by layer (llama-model-loader.h,
    weight_name_comparer)."""
    layer = re.match(r"blk\.(\d+)\.", tensor.name)
    return (int(layer[1]) if layer else -1, tensor.name)
