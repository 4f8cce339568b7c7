"""A tensor in other types, as a file has it, and its error there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qpipe.gguf import ggml, quantizers
from qpipe.gguf.categories import quantizable
from qpipe.gguf.chunks import OutputTensor, rows_of_chunk
from qpipe.gguf.imatrix import IMatrix
from qpipe.gguf.quantize import read
from qpipe.gguf.types import FLOATS, GGMLType
from qpipe.support.bounded_pool import in_order

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

# ggml-quants.c: without an importance matrix these abort, or are garbage.
_WEIGHTED_ALONE = (
    *(GGMLType.IQ1_S, GGMLType.IQ1_M, GGMLType.IQ2_XXS, GGMLType.IQ2_XS, GGMLType.IQ2_S),
    GGMLType.IQ3_XXS,
)


def matrices(model: Path) -> list[OutputTensor]:
    """The tensors of a GGUF file that can be quantized, in the file's order."""
    plan = read(model)
    return [
        output
        for output in plan.outputs
        if quantizable(output.name, output.shape, arch=plan.architecture) and output.type in FLOATS
    ]


def weighted(output: OutputTensor, imatrix: IMatrix | None) -> OutputTensor:
    """The tensor with its importances, if there are any."""
    found = None if imatrix is None else imatrix.of(output.name, output.shape)
    return OutputTensor(
        output.name, output.shape, output.type, output.rows, output.via, imatrix=found
    )


def possible(output: OutputTensor, kinds: Sequence[GGMLType]) -> list[GGMLType]:
    """Return those of ``kinds`` that the tensor's rows fit, that need no importances it lacks, and
    of floats its own type alone; that too where there is none."""
    fitting = [
        kind
        for kind in kinds
        if kind.fits(output.shape[-1])
        and (output.imatrix is not None or kind not in _WEIGHTED_ALONE)
        and (kind not in FLOATS or kind == output.type)
    ]
    return fitting or [output.type]


def quantized(output: OutputTensor, kinds: Sequence[GGMLType]) -> list[GGMLType]:
    """Return those of ``kinds`` that are not the tensor's own."""
    return [kind for kind in kinds if kind != output.type]


@dataclass(frozen=True)
class Encoded:
    """A tensor's ``data`` in a ``type``, as a file has them, and the weighted squared ``error`` of
    that over the weighted sum of squares."""

    type: GGMLType
    data: Bytes
    error: float = 0.0


def forms(
    output: OutputTensor, kinds: Sequence[GGMLType], pool: ThreadPoolExecutor, threads: int
) -> dict[GGMLType, Encoded]:
    """The tensor in each of ``kinds``."""
    rows, n_per_row = math.prod(output.shape[:-1]), output.shape[-1]
    step = min(rows_of_chunk(n_per_row), output.matrix_rows)
    bounds = [
        (start, min(start + step, first + output.matrix_rows))
        for first in range(0, rows, output.matrix_rows)
        for start in range(first, first + output.matrix_rows, step)
    ]
    jobs = (partial(_chunk, output, kinds, *bound) for bound in bounds)
    chunks = list(in_order(pool, jobs, ahead=2 * threads))
    squares = sum(chunk[1] for chunk in chunks)
    return {
        kind: Encoded(
            kind,
            np.concatenate([chunk[0][at][0] for chunk in chunks]),
            sum(chunk[0][at][1] for chunk in chunks) / squares if squares else 0.0,
        )
        for at, kind in enumerate(kinds)
    }


def as_it_is(output: OutputTensor) -> Encoded:
    """The tensor as its file has it."""
    return Encoded(output.type, np.array(output.rows.raw(0, math.prod(output.shape[:-1]))))


def _chunk(
    output: OutputTensor, kinds: Sequence[GGMLType], start: int, stop: int
) -> tuple[list[tuple[Bytes, float]], float]:
    rows = output.rows.floats(start, stop)
    own = None if output.imatrix is None else output.imatrix[start // output.matrix_rows]
    importances = np.ones(rows.shape[1], np.float32) if own is None else own
    encoded = []
    for kind in kinds:
        if kind == output.type:
            encoded.append((np.array(output.rows.raw(start, stop)), 0.0))
            continue
        data = quantizers.quantizer(kind)(rows, imatrix=own)
        numbers = ggml.dequantize(data, kind, rows.shape[1])
        encoded.append((data, _weighted_squares(numbers - rows, importances)))
    return encoded, _weighted_squares(rows, importances)


def _weighted_squares(rows: Floats, importances: Floats) -> float:
    return float(np.square(rows).sum(axis=0, dtype=np.float64) @ importances.astype(np.float64))
