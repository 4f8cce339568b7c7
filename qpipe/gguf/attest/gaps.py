"""How far the bytes of a published tensor are from those that its source gives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.gguf import ggml, rows, types
from qpipe.gguf.types import GGMLType

_SAMPLE = 16  # rows of a chunk whose numbers are looked at

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class Gap:
    """``blocks`` that differ, and sums of squares over a sample of them: of the source's
    ``weights``, of ``ours`` and of the ``apart`` between the file's numbers and ours, and of the
    errors of both. ``finite`` is whether the file's numbers are."""

    blocks: int = 0
    weights: float = 0.0
    ours: float = 0.0
    apart: float = 0.0
    our_error: float = 0.0
    error: float = 0.0
    finite: bool = True

    def __add__(self, other: Gap) -> Gap:
        mine, others = vars(self), vars(other)
        sums = {name: mine[name] + others[name] for name in mine if name != "finite"}
        return Gap(**sums, finite=self.finite and other.finite)

    def relative(self, name: str) -> float | None:
        """‖difference‖ ÷ ‖what it is a difference to‖ in the blocks that differ, to three digits:
        of ``apart`` to our numbers, of an error to the source's. None where it is not known."""
        base = self.ours if name == "apart" else self.weights
        value = getattr(self, name)
        if not self.finite or not base or not math.isfinite(value):
            return None
        return float(f"{math.sqrt(value / base):.3g}")


def gap(theirs: Bytes, ours: Bytes, exact: Floats, kind: GGMLType) -> Gap | None:
    """The gap between rows [n, bytes per row] of a file and those that were made of the weights
    ``exact`` [n, n_per_row]; None if they are the same."""
    if np.array_equal(theirs, ours):
        return None
    n_rows, per_row = exact.shape
    shape = n_rows, per_row // kind.block, -1
    differ = (theirs.reshape(shape) != ours.reshape(shape)).any(axis=2)
    count = int(differ.sum())
    if kind not in types.FLOATS and not ggml.dequantizes(kind):
        return Gap(count)
    picked = np.flatnonzero(differ.any(axis=1))
    picked = picked[:: -(-len(picked) // _SAMPLE)]
    mask = np.repeat(differ[picked], kind.block, axis=1)
    with np.errstate(all="ignore"):  # whatever a damaged file holds
        file, own = (_numbers(part[picked], kind, per_row)[mask] for part in (theirs, ours))
        source = exact[picked].astype(np.float64)[mask]
        return Gap(
            count,
            weights=_squares(source),
            ours=_squares(own),
            apart=_squares(file - own),
            our_error=_squares(own - source),
            error=_squares(file - source),
            finite=bool(np.isfinite(file).all()),
        )


def _numbers(encoded: Bytes, kind: GGMLType, per_row: int) -> Numbers:
    contiguous = np.ascontiguousarray(encoded)
    if kind in types.FLOATS:
        return rows.single(contiguous, kind).astype(np.float64)
    return ggml.dequantize(contiguous, kind, per_row).astype(np.float64)


def _squares(values: Numbers) -> float:
    return float(np.square(values).sum())
