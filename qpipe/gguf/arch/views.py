"""What GGUF has of a tensor: the same weights in another order, a part of them, or others computed.

A `View` shows a stored tensor as numpy shows arrays, without a copy, so that rows are read from the
file only as they are written. Its last axes are the columns of a row, the axes in front the rows;
several arrays follow each other by rows. A `Compute` is of each weight by itself, in the precision
that llama.cpp's converter has it in: half for F16, single for all else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.gguf.arch.dims import Dims

Array = npt.NDArray[Any]
View = Callable[[Array, Dims], Array | Sequence[Array]]
Compute = Callable[[Array], Array]


def whole(stored: Array, dims: Dims) -> Array:
    """The tensor as it is."""
    return stored


def rotary(heads: str) -> View:
    """Each head's two halves as neighbours, of as many heads as the size ``heads`` says.

    llama.cpp's "norm" RoPE turns neighbouring rows, Hugging Face's the two halves of a head
    (conversion/llama.py, LlamaModel.permute).
    """

    def interleaved(stored: Array, dims: Dims) -> Array:
        n = dims.size(heads)
        halves = stored.reshape(n, 2, len(stored) // n // 2, *stored.shape[1:])
        return halves.swapaxes(1, 2)

    return interleaved


def transposed(stored: Array, dims: Dims) -> Array:
    """The last two axes exchanged: [..., in, out] as [..., out, in]."""
    return stored.swapaxes(-1, -2)


def half(which: int, *, axis: int = -2) -> View:
    """The first (0) or second (1) half along an axis: gate and up projection in one tensor."""

    def of_two(stored: Array, dims: Dims) -> Array:
        size = stored.shape[axis] // 2
        return np.moveaxis(np.moveaxis(stored, axis, 0)[which * size :][:size], 0, axis)

    return of_two


def every_other(first: int, *, axis: int = -2) -> View:
    """The even (0) or odd (1) places along an axis: gate and up projection interleaved."""

    def of_two(stored: Array, dims: Dims) -> Array:
        return np.moveaxis(np.moveaxis(stored, axis, 0)[first::2], 0, axis)

    return of_two


def padded(stored: Array, rows: int) -> Sequence[Array]:
    """The tensor and rows of zeros after it, ``rows`` in all; of an array of places -1."""
    fill = stored.dtype.type(-1 if stored.dtype.kind == "i" else 0)
    return stored, np.broadcast_to(fill, (rows - len(stored), *stored.shape[1:]))


def after(first: View, second: View) -> View:
    """``first`` of the tensor, and ``second`` of that."""

    def both(stored: Array, dims: Dims) -> Array | Sequence[Array]:
        shown = first(stored, dims)
        assert isinstance(shown, np.ndarray), first
        return second(shown, dims)

    return both


def plus_one(weights: Array) -> Array:
    """Norms whose weights count from one."""
    shifted: Array = weights + weights.dtype.type(1)
    return shifted


def minus_exp(weights: Array) -> Array:
    """The rates of decay, of which checkpoints have the logarithm (A_log)."""
    rates: Array = -np.exp(weights.astype(np.float64)).astype(weights.dtype)
    return rates
