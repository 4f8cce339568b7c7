"""What a quantized file will hold and weigh, from headers alone: no weight is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from qpipe.gguf import convert, imatrix, mixture, quantize, reader, stream, values, weighting
from qpipe.gguf.mixture import Wanted
from qpipe.gguf.model import Model
from qpipe.gguf.types import GGMLType


@dataclass(frozen=True)
class Forecast:
    """The type of each tensor in the file's order, and the file's exact size."""

    types: dict[str, GGMLType]
    tensor_bytes: int
    file_bytes: int


def of_checkpoint(
    source: Path,
    wanted: Wanted,
    *,
    outtype: str = "F16",
    name: str | None = None,
    pretokenizer: str | None = None,
    imatrix_file: Path | None = None,
) -> Forecast:
    """Of converting the folder ``source`` to ``outtype`` and quantizing that.

    Raises what `convert.convert` and `quantize.quantize` raise, but for what only weights tell.
    """
    prepared = convert.prepare(source, outtype=outtype, name=name, pretokenizer=pretokenizer)
    if not wanted.changes(prepared.ftype.name):
        return _forecast(prepared.metadata, prepared.outputs)
    weights = None if imatrix_file is None else imatrix.read(imatrix_file)
    ordered = quantize.by_layer(prepared.outputs)
    model = Model.of(prepared.metadata, {output.name for output in ordered})
    chosen = mixture.choose(ordered, model, wanted, has_imatrix=weights is not None)
    outputs = [replace(output, type=chosen[output.name]) for output in ordered]
    return _forecast(
        quantize.metadata(prepared.metadata, wanted.ftype, weights),
        weighting.weighted(outputs, weights, wanted.ftype),
    )


def of_file(source: Path, wanted: Wanted, *, imatrix_file: Path | None = None) -> Forecast:
    """Of quantizing the GGUF file ``source``; raises what `quantize.quantize` raises."""
    file = reader.read(source)
    weights = None if imatrix_file is None else imatrix.read(imatrix_file)
    return _forecast(
        quantize.metadata(file.metadata, wanted.ftype, weights),
        quantize.plan(file, wanted, weights),
    )


def _forecast(metadata: values.Metadata, outputs: list[stream.Output]) -> Forecast:
    return Forecast(
        {output.name: output.type for output in outputs},
        sum(output.nbytes for output in outputs),
        stream.size(metadata, outputs),
    )
