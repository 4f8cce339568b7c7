"""A checkpoint, or a GGUF in F32, F16 or BF16 → quantized GGUF, as llama-quantize writes it.

A checkpoint is quantized in one pass: the file in half precision that llama.cpp makes on the way
is never written, its rounding is applied to each chunk of rows instead.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from qpipe import errors
from qpipe.gguf import imatrix as matrices
from qpipe.gguf import imatrix_use, lattices, mixture, split, stream, types, values
from qpipe.gguf.chunks import OnceRead, OutputTensor
from qpipe.gguf.file_plan import FilePlan
from qpipe.gguf.ftypes import FileType
from qpipe.gguf.hyperparameters import Hyperparameters
from qpipe.gguf.imatrix import IMatrix
from qpipe.gguf.mixture import TypeRequest, by_layer
from qpipe.gguf.quantizers import last_resort
from qpipe.gguf.rows import GGUFRows
from qpipe.gguf.shortfall import Shortfall
from qpipe.gguf.types import GGMLType

QUANTIZATION_VERSION = 2  # ggml.h, GGML_QNT_VERSION

Scales = Literal["auto", "ggml", "lattice"]
"""Lattices are kept where there are any, nowhere, or there must be one."""


def quantize(
    source: Path | FilePlan,
    out: Path,
    *,
    ftype: str | TypeRequest,
    imatrix: Path | None = None,
    scales: Scales = "auto",
    provenance: Mapping[str, str] | None = None,
    threads: int = 1,
    progress: stream.Progress | None = None,
) -> FilePlan:
    """Write what `prepare` says to ``out``.

    Rows are quantized by ``threads`` threads; the bytes do not depend on their number. Raises as
    `prepare`, and `CheckpointError` for weights that are NaN, infinite or too large for a type,
    `OutOfSpaceError` for a full disk.
    """
    prepared = prepare(source, ftype, imatrix=imatrix, scales=scales, provenance=provenance)
    prepared.write(out, threads=threads, progress=progress)
    return prepared


def prepare(
    source: Path | FilePlan,
    ftype: str | TypeRequest,
    *,
    imatrix: Path | None = None,
    scales: Scales = "auto",
    provenance: Mapping[str, str] | None = None,
) -> FilePlan:
    """``source`` under the quantization name ``ftype``, or as `TypeRequest` says; reads no weight
    but those by which lattices are recognized.

    ``source`` is a GGUF file, or what `convert.prepare` says of a checkpoint, whose precision
    there is what is quantized. ``imatrix`` is an importance matrix file; a lattice (`lattices`)
    goes before it, as ``scales`` says. ``provenance`` becomes
    metadata under ``qpipe.``; it tells of quantization, so a file that needs none gets none.

    Raises `RecipeError` for an unknown name or type, a wish without effect, or a type that needs
    an importance matrix where there is none; `CheckpointError` for a source that is damaged or
    already quantized; `DataError` for an unusable importance matrix.
    """
    request = TypeRequest.of(ftype) if isinstance(ftype, str) else ftype
    if isinstance(source, Path):
        plan = read(source)
    else:
        plan = replace(
            source, outputs=[replace(output, via=output.type) for output in source.outputs]
        )
        if _stays(source, request, file=False):
            if scales == "lattice":
                raise lattices.refusal(source.types.values())
            return source
    weights = None if imatrix is None else matrices.read(imatrix)
    typed, shortfall, notes = _typed(
        plan, request, has_imatrix=weights is not None, weights=weights
    )
    outputs = imatrix_use.weighted(typed, weights, request.ftype)
    if scales != "ggml":
        outputs = [_with_lattice(output) for output in outputs]
        if scales == "lattice" and all(output.scales == "ggml" for output in outputs):
            raise lattices.refusal(output.type for output in outputs)
    return FilePlan(
        plan.architecture,
        request.ftype.name,
        _metadata(plan.metadata, request.ftype, weights) | _noted(provenance, outputs),
        outputs,
        (
            *(*plan.notes, *notes, *_platform_note(outputs)),
            *(() if weights is None else imatrix_use.notes(outputs, weights)),
        ),
        shortfall,
        needs_lattice=scales == "lattice",
    )


def _stays(source: FilePlan, request: TypeRequest, *, file: bool) -> bool:
    """True if a file, or a checkpoint in its precision, is what is asked for already.

    A checkpoint whose experts alone are in MXFP4 is not: MXFP4_MOE has the others in Q8_0.
    """
    whole = file or request.ftype.default in types.FLOATS
    return whole and not request.changes(source.file_type)


def shortfall_ahead(source: Path | FilePlan, request: TypeRequest) -> Shortfall | None:
    """Say what the file will lack of its name, with an importance matrix that is not here yet.

    Raises as `prepare`, but for what the matrix tells.
    """
    plan = read(source) if isinstance(source, Path) else source
    if _stays(plan, request, file=isinstance(source, Path)):
        return None
    return _typed(plan, request, has_imatrix=True)[1]


def plan_ahead(source: Path | FilePlan, request: TypeRequest, *, has_imatrix: bool) -> FilePlan:
    """About what `prepare` would say, of a source or with an importance matrix that is not here
    yet: without the metadata, and as if the matrix covered all. Raises as `prepare`, but for what
    the matrix tells."""
    plan = read(source) if isinstance(source, Path) else source
    if _stays(plan, request, file=isinstance(source, Path)):
        return plan
    outputs = _typed(plan, request, has_imatrix=has_imatrix)[0]
    return replace(plan, file_type=request.ftype.name, outputs=outputs)


def types_ahead(
    plan: FilePlan, request: TypeRequest, *, has_imatrix: bool
) -> Mapping[str, GGMLType]:
    """The type of each tensor by `plan_ahead`, in llama-quantize's order. Raises as that."""
    if _stays(plan, request, file=False):
        return plan.types
    return _chosen(plan, request, has_imatrix=has_imatrix).types


def read(source: Path) -> FilePlan:
    """A GGUF model as it is, of one file or of all its parts. Raises `CheckpointError` for one that
    is damaged or not all there."""
    file = split.read(source)
    outputs = [
        OutputTensor(tensor.name, tensor.shape, tensor.type, GGUFRows(file, tensor))
        for tensor in file.tensors.values()
    ]
    return FilePlan(file.architecture, file.file_type, file.metadata, outputs)


def _typed(
    plan: FilePlan,
    request: TypeRequest,
    *,
    has_imatrix: bool,
    weights: IMatrix | None = None,
) -> tuple[list[OutputTensor], Shortfall | None, tuple[str, ...]]:
    """The tensors to write, in llama-quantize's order, each with its type; what the name promises
    and they are not; notes on types."""
    chosen = _chosen(plan, request, has_imatrix=has_imatrix, weights=weights)
    shortfall = chosen.choice.shortfall(chosen.types)
    said = () if shortfall is None else (shortfall.note(),)
    like = () if request.like is None else (request.like.note(),)
    kept = (*_published_note(chosen.published), *_spared_note(chosen.spared))
    notes = (*like, *said, *kept)
    return _with_types(chosen.outputs, chosen.types), shortfall, notes


@dataclass(frozen=True)
class _Chosen:
    """The ``types`` of all ``outputs``, in llama-quantize's order; by their names those that are
    ``published`` so, and those that no importance matrix knows (``spared``)."""

    outputs: Sequence[OutputTensor]
    choice: mixture.Choice
    types: Mapping[str, GGMLType]
    published: Mapping[str, GGMLType]
    spared: Mapping[str, GGMLType]


def _chosen(
    plan: FilePlan, request: TypeRequest, *, has_imatrix: bool, weights: IMatrix | None = None
) -> _Chosen:
    """Raises `RecipeError`, and `CheckpointError` for a tensor that is quantized already."""
    ordered = by_layer(plan.outputs)
    model = Hyperparameters.of(plan.metadata, plan.types)
    choice = mixture.choose(ordered, model, request, has_imatrix=has_imatrix)
    published = {
        output.name: output.type
        for output in ordered
        if output.type is GGMLType.MXFP4
        and is_published_so(output)
        and not request.names(output.name)
    }
    chosen = {**choice.types, **published}
    for output in ordered:
        if output.type not in types.FLOATS and chosen[output.name] != output.type:
            raise errors.CheckpointError(
                f"{output.rows.origin} is already {output.type.name}; quantizing "
                "twice loses more than either: give the F32, F16 or BF16 file instead"
            )
    spared = {}
    if has_imatrix and model.nextn:
        typed = _with_types(ordered, chosen)
        named = [output for output in typed if not request.names(output.name)]
        spared = imatrix_use.without_importances(named, model, request.ftype, weights)
    return _Chosen(ordered, choice, {**chosen, **spared}, published, spared)


def _with_types(
    outputs: Sequence[OutputTensor], types: Mapping[str, GGMLType]
) -> list[OutputTensor]:
    """The tensors, those with another type among ``types`` as that."""
    return [
        output if types.get(output.name, output.type) is output.type
        else OutputTensor(
            *(output.name, output.shape, types[output.name], output.rows, output.via),
            *(output.imatrix, output.scales),
        )
        for output in outputs
    ]  # fmt: skip


def _with_lattice(output: OutputTensor) -> OutputTensor:
    """The tensor with its lattice's scales, if it lies on one, or if only reading it tells."""
    if output.type not in lattices.TYPES or output.rows.type == output.type:
        return output
    kept = replace(output, scales="lattice")
    return kept if isinstance(output.rows, OnceRead) or kept.on_lattice() else output


def is_published_so(output: OutputTensor) -> bool:
    """True if a matrix has no other form: the experts of checkpoints such as gpt-oss in MXFP4."""
    return output.type is GGMLType.MXFP4 and "_exps." in output.name


def _published_note(published: Mapping[str, GGMLType]) -> tuple[str, ...]:
    if not published:
        return ()
    return (
        f"{len(published)} tensors of experts are MXFP4 in the source and stayed so, for "
        "quantizing twice loses more than either",
    )


def _spared_note(spared: Mapping[str, GGMLType]) -> tuple[str, ...]:
    if not spared:
        return ()
    kinds = " or ".join(sorted({kind.name for kind in spared.values()}))
    return (
        f"{len(spared)} tensors of layers that predict further tokens are {kinds}: no importance "
        "matrix knows them, and the type that the name gives them needs one",
    )


def _platform_note(outputs: Sequence[OutputTensor]) -> tuple[str, ...]:
    """A note where bytes hang on a compiler: llama.cpp#25353."""
    machine = platform.machine()
    if machine.lower() in ("x86_64", "amd64"):
        return ()
    kinds = {
        output.type.name
        for output in outputs
        if output.rows.type != output.type
        and last_resort.writes(output.type, weighted=output.imatrix is not None)
    }
    if not kinds:
        return ()
    return (
        f"{', '.join(sorted(kinds))}: quantized by ggml itself, whose bytes on {machine} may "
        "differ from those on x86-64",
    )


def _metadata(source: values.Metadata, ftype: FileType, weights: IMatrix | None) -> values.Metadata:
    """The source's metadata with the two keys that llama-quantize sets moved to the end, and
    what it notes of the importance matrix."""
    dropped = {"general.quantization_version", "general.file_type", "general.alignment"}
    fields = {key: value for key, value in source.items() if key not in dropped}
    fields["general.quantization_version"] = values.u32(QUANTIZATION_VERSION)
    fields["general.file_type"] = values.u32(ftype.number)
    noted = {} if weights is None else weights.metadata()
    return {key: value for key, value in fields.items() if key not in noted} | noted


def _noted(
    provenance: Mapping[str, str] | None, outputs: Sequence[OutputTensor]
) -> values.Metadata:
    if provenance is None:
        return {}
    fields = {f"qpipe.{name}": values.string(value) for name, value in provenance.items()}
    if any(output.scales == "lattice" for output in outputs):
        fields[lattices.NOTED] = values.u32(0)  # their number, once they are written
    return fields
