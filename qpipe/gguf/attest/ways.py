"""The ways by which a file's weights may have come from the source's to its bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from qpipe.gguf import ggml, imatrix_use, lattices, types
from qpipe.gguf.chunks import OutputTensor, Scales
from qpipe.gguf.computed import ComputedTensor
from qpipe.gguf.rows import GGUFRows, SafetensorsRows, StackedRows
from qpipe.gguf.types import GGMLType

VIAS = (GGMLType.F16, GGMLType.BF16, GGMLType.F32)
"""The precisions of the file in between, the usual one first. F32 keeps any source's numbers."""


@dataclass(frozen=True)
class Way:
    """Through the precision ``via``, ``weighted`` by an importance matrix or not, with the
    ``scales`` of ggml or of a lattice."""

    via: GGMLType
    weighted: bool = False
    scales: Scales = "ggml"


def ways(*, has_imatrix: bool, noted_imatrix: bool, noted_lattice: bool) -> Sequence[Way]:
    """All ways that a file may have been made by, those first that its metadata speak for."""
    weighted = (True, False) if noted_imatrix else (False, True)
    scales: tuple[Scales, ...] = ("lattice", "ggml") if noted_lattice else ("ggml", "lattice")
    return [
        Way(via, weights, scale)
        for scale in scales
        for weights in (weighted if has_imatrix else (False,))
        for via in VIAS
    ]


def listens(kind: GGMLType) -> bool:
    """True if an importance matrix makes a difference to the bytes of a type."""
    return kind not in imatrix_use.INDIFFERENT


def of_tensor(way: Way, output: OutputTensor, *, weighted: bool) -> Way | None:
    """``way`` as far as it makes a difference to a tensor: of two ways with the same bytes the
    same. None if the type cannot be written so.

    ``output`` is the tensor in the file's type, ``via`` its precision in a file of F16;
    ``weighted`` is whether the importance matrix knows it.
    """
    kind = output.type
    if is_copied(output):
        return Way(GGMLType.F32)
    single = output.via is GGMLType.F32 or way.via in (stored(output), kind)
    use = way.weighted and weighted and listens(kind)
    if kind in ggml.NEED_IMATRIX and not use:
        return None
    via = GGMLType.F32 if single else way.via
    lattice = way.scales == "lattice" and kind in lattices.TYPES
    return Way(via, use, "lattice" if lattice else "ggml")


def as_written(way: Way, output: OutputTensor) -> OutputTensor:
    """The tensor as it is to be made by a way of `of_tensor`; its ``imatrix`` only if that is
    asked for."""
    weights = output.imatrix if way.weighted else None
    return replace(output, via=way.via, imatrix=weights, scales=way.scales)


def is_copied(output: OutputTensor) -> bool:
    """True if the source has the blocks themselves, as experts that are published in MXFP4."""
    return output.rows.type == output.type and output.type not in types.FLOATS


def stored(output: OutputTensor) -> GGMLType:
    """The smallest precision that holds all numbers of a tensor's source."""
    rows = output.rows
    parts = rows.parts if isinstance(rows, StackedRows) else [rows]
    kinds = {_stored(part) for part in parts}
    return kinds.pop() if len(kinds) == 1 else GGMLType.F32


def _stored(rows: object) -> GGMLType:
    if isinstance(rows, GGUFRows) and rows.tensor.type in types.FLOATS:
        return rows.tensor.type
    if isinstance(rows, SafetensorsRows) and rows.compute is None:
        return GGMLType[rows.tensor.dtype]
    return GGMLType.F32


def is_packed(output: OutputTensor) -> bool:
    """True if the source's own weights are quantized, and its numbers computed from them."""
    rows = output.rows
    parts = rows.parts if isinstance(rows, StackedRows) else [rows]
    return any(
        isinstance(part, SafetensorsRows) and isinstance(part.tensor, ComputedTensor)
        for part in parts
    )
