"""Sums of squared activations for every weight that a decode multiplies with.

What is collected, and in which order float32 numbers are added, is llama-imatrix's
(tools/imatrix/imatrix.cpp, IMatrixCollector::collect_imatrix).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from qpipe.errors import DataError, StageError
from qpipe.llamacpp.c_api import OPERATIONS
from qpipe.llamacpp.observe import GraphTensor

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Experts = npt.NDArray[np.int32]

_DENSE, _EXPERTS = OPERATIONS["MUL_MAT"], OPERATIONS["MUL_MAT_ID"]
# llama-imatrix (llama.cpp 0.5.0) passes over products with fewer rows than this.
MIN_ROWS = 16
_OUTPUT = frozenset({"output.weight", "token_embd.weight"})


@dataclass
class SquareSums:
    """``sums`` [matrices, columns] of squares, and how many rows of activations are in them.

    ``counts`` has one number for each matrix of a tensor of experts, else one in all.
    """

    sums: Floats
    counts: Ints


@dataclass
class Moments:
    """An observer that sums squared activations by the name of the weight they meet.

    Weights of the layers (``blk.``) and all experts count; the output's, if ``with_output``.
    Raises DataError for an activation that is no finite number.
    """

    with_output: bool = False
    entries: dict[str, SquareSums] = field(default_factory=dict)

    def wants(self, tensor: GraphTensor) -> bool:
        """Products with experts, and those of at least 16 float32 rows with a layer's weight."""
        if tensor.operation != _DENSE:
            return tensor.operation == _EXPERTS
        activations = tensor.operand(1)
        if not activations.is_float32 or activations.shape[2] < MIN_ROWS:
            return False
        name = weight_name(tensor.operand(0).name)
        return name.startswith("blk.") or (self.with_output and name in _OUTPUT)

    def see(self, tensor: GraphTensor) -> None:
        """Add the activations of one product."""
        weight, rows = tensor.operand(0), tensor.operand(1).floats()
        name = weight_name(weight.name)
        if tensor.operation == _EXPERTS:
            entry = self._entry(name, weight.shape[1], rows.shape[-1], counts=weight.shape[1])
            touched = _add_experts(entry, rows[0], tensor.operand(2).integers()[0, 0])
        else:
            n3, n2 = weight.shape[:2]
            entry = self._entry(name, n3 * n2, rows.shape[-1], counts=1)
            touched = _add_dense(entry, rows, n3, n2)
        if not np.isfinite(entry.sums[touched]).all():
            raise DataError(
                f"the inputs of tensor {name!r} overflow or are no numbers on this text: the model "
                "is damaged, or too large for its float type; set quantize.via=source"
            )

    def _entry(self, name: str, matrices: int, columns: int, *, counts: int) -> SquareSums:
        entry = self.entries.get(name)
        if entry is None:
            entry = SquareSums(
                np.zeros((matrices, columns), np.float32), np.zeros(counts, np.int64)
            )
            self.entries[name] = entry
        if entry.sums.shape != (matrices, columns) or len(entry.counts) != counts:
            raise StageError(
                f"tensor {name!r} is used as {entry.sums.shape} and as {(matrices, columns)}: such "
                "a model has no importance matrix that llama.cpp could read"
            )
        return entry


def weight_name(name: str) -> str:
    """The weight behind the name of a copy: CUDA0#blk.0.attn_k.weight#0 → blk.0.attn_k.weight."""
    _, mark, rest = name.partition("#")
    return rest.partition("#")[0] if mark else name


def _add_dense(entry: SquareSums, rows: Floats, n3: int, n2: int) -> list[int]:
    """``rows`` is [i3, i2, row, column]; those of matrices that the weight lacks wrap around."""
    for i3, i2 in np.ndindex(rows.shape[:2]):
        _add_squares(entry.sums[(i3 % n3) * n2 + i2 % n2], rows[i3, i2])
    entry.counts += rows[..., 0].size // len(entry.sums)
    return list(range(len(entry.sums)))


def _add_experts(entry: SquareSums, rows: Floats, experts: Experts) -> list[int]:
    """``rows`` is [token, one or each slot, column], ``experts`` [token, slot] the experts."""
    touched = np.unique(experts)
    for expert in touched:
        slots, tokens = np.nonzero(np.equal(experts.T, expert))
        _add_squares(entry.sums[expert], rows[tokens, slots % rows.shape[1]])
        entry.counts[expert] += len(tokens)
    return [int(expert) for expert in touched]


def _add_squares(sums: Floats, rows: Floats) -> None:
    """Row after row, each square and each sum rounded to float32, as a plain loop would.

    numpy sums a column so wherever there are several; a lone one it would sum in pairs.
    """
    terms = np.empty((len(rows) + 1, len(sums)), np.float32)
    terms[0] = sums
    np.square(rows, out=terms[1:])
    np.add.reduce(terms, axis=0, out=sums)
