"""Whether the numbers of packed matrices are the source's, as far as their bits allow.

Engines err in ways that no header shows: values in another order, the largest of a group that comes
out as its smallest. Some rows of every matrix are unpacked by code of our own and compared.

Two things are asked. The error (root of the mean square) may be `_FACTOR` times that of rounding
the same rows to the nearest, symmetrically, with as many bits and groups, or to the nearest float
where codes are floats: methods that look at activations trade this error for a smaller one of
outputs, the worst that was measured of GPTQ, AWQ and AutoRound is in tests/packed/test_fidelity.py.
And no weight of 4 bits or more may lie across its group's range from what it was: that no method
wants.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qpipe.errors import CheckpointError
from qpipe.gguf.checkpoint import read_tensors
from qpipe.gguf.safetensors import StoredTensor
from qpipe.packed.formats.base import Packed
from qpipe.packed.structure import Structure
from qpipe.packed.values.base import FloatArray, Strip, Values, floats
from qpipe.packed.values.layouts import reader, strips

# Weights that are looked at: of a matrix, and of a checkpoint with very many.
_OF_MATRIX, _OF_ALL = 1 << 18, 1 << 29
_FACTOR = 4.0
# A scale of 8 bits or more, rounded itself, moves a weight that outweighs all others by less; of
# those the nearest float is the weight itself.
_SCALE = 0.01
# Weights that have nothing to do with each other differ by 1.4 times their own size.
_MOST = 1.25
_FLOATS = ("F32", "F16", "BF16")
_ACROSS, _FEWEST_BITS = 0.75, 4
_ROWS = 16
# More than that are not single weights that went wrong.
_MANY = 0.01


@dataclass(frozen=True)
class Likeness:
    """The difference between rows of a packed matrix and the source's: ``error`` and that of
    rounding to the nearest, ``rounding``, in parts of the weights' root mean square; the
    ``flipped`` of the ``looked_at`` weights; and the part of all columns that are ``zeroed`` (no
    token reached them).
    """

    error: float
    rounding: float
    flipped: int
    looked_at: int
    zeroed: float

    @property
    def is_alike(self) -> bool:
        """True if the difference is no more than quantizing makes."""
        return not self.flipped and self.error <= min(max(_FACTOR * self.rounding, _SCALE), _MOST)


def check(structure: Structure, source: Path, *, scaled: bool) -> list[str]:
    """Notes on columns that an engine set to zero. ``scaled``: channels may have been scaled, as
    AWQ does, and are compared but for that.

    Raises CheckpointError for a matrix that is not the source's.
    """
    zeroed: dict[str, float] = {}
    for name, like in likenesses(structure, source, scaled=scaled):
        if not like.is_alike:
            raise CheckpointError(_wrong(structure, name, like))
        if like.zeroed:
            zeroed[name] = like.zeroed
    return _zeroed_notes(zeroed)


def likenesses(
    structure: Structure, source: Path, *, scaled: bool
) -> Iterator[tuple[str, Likeness]]:
    """Yield the name and the likeness of every packed matrix that the source has in floats, in a
    layout that can be read."""
    original = read_tensors(source)
    config: Mapping[str, object] = structure.config.get("quantization_config") or {}
    most = min(_OF_MATRIX, _OF_ALL // max(1, len(structure.modules)))
    for name, module in structure.modules.items():
        tensor = original.get(f"{name}.weight")
        read = reader(module, structure.tensors, config)
        if read is None or tensor is None or tensor.dtype not in _FLOATS:
            continue
        rows, columns = module.shape
        if tensor.shape != (module.shape[::-1] if structure.is_turned else module.shape):
            continue
        parts = [
            _compared(module, read(Strip(module, structure.tensors, config, first, stop)),
                      _rows(tensor, first, stop, turned=structure.is_turned), scaled=scaled)
            for first, stop in strips(rows, columns, most=most)
        ]  # fmt: skip
        yield name, _together(parts)


def _rows(tensor: StoredTensor, first: int, stop: int, *, turned: bool) -> FloatArray:
    if turned:
        return floats(tensor, (slice(None), slice(first, stop))).T
    return floats(tensor, slice(first, stop))


@dataclass(frozen=True)
class _Sums:
    weights: float
    error: float
    rounding: float
    flipped: int
    columns: int
    zeroed: int
    looked_at: int


def _together(parts: list[_Sums]) -> Likeness:
    weights = sum(part.weights for part in parts) or 1.0
    return Likeness(
        math.sqrt(sum(part.error for part in parts) / weights),
        math.sqrt(sum(part.rounding for part in parts) / weights),
        sum(part.flipped for part in parts),
        sum(part.looked_at for part in parts),
        max(part.zeroed / part.columns for part in parts),
    )


def _compared(module: Packed, out: Values, original: FloatArray, *, scaled: bool) -> _Sums:
    original = original.reshape(out.numbers.shape)
    if scaled:
        original = _scaled(original, out.numbers)
    bits = int(module.bits)
    rounded = _rounded(original, out, bits, module.group_size or -1)
    # Of few rows a column may be 0 by chance.
    many = len(original) >= _ROWS
    dead = ~out.numbers.any(axis=0) & rounded.any(axis=0) & many
    live = ~dead
    error = (out.numbers - original)[:, live]
    return _Sums(
        weights=float(np.square(original[:, live], dtype=np.float64).sum()),
        error=float(np.square(error, dtype=np.float64).sum()),
        rounding=float(np.square((rounded - original)[:, live], dtype=np.float64).sum()),
        flipped=int((_flipped(out, original, bits) & live).sum()) if bits >= _FEWEST_BITS else 0,
        columns=original.shape[1],
        zeroed=int(dead.sum()),
        looked_at=original.size,
    )


def _flipped(out: Values, original: FloatArray, bits: int) -> npt.NDArray[np.bool_]:
    """A mask of weights far from what they were, although that, or a step beside it, could have
    been represented."""
    span = out.high - out.low
    step = span / (2**bits - 1)
    representable = (original >= out.low - step) & (original <= out.high + step) & (span > 0)
    far = np.abs(out.numbers - original) >= _ACROSS * span
    mask: npt.NDArray[np.bool_] = far & representable
    return mask


def _rounded(original: FloatArray, out: Values, bits: int, size: int) -> FloatArray:
    """Rounded to the nearest of levels that reach from the largest of a group to its negative."""
    rows, columns = original.shape
    size, order = columns if size == -1 else size, out.order
    ordered = original if order is None else original[:, order]
    padded = np.pad(ordered, ((0, 0), (0, -columns % size))).reshape(rows, -1, size)
    most = (2**bits - 1) / 2 if out.levels is None else out.levels[-1]
    step = np.abs(padded).max(axis=-1, keepdims=True) * np.float32(1 / most)
    step[step == 0] = 1
    if out.levels is None:
        nearest = np.clip(np.rint(padded / step), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    else:
        middles = (out.levels[1:] + out.levels[:-1]) / 2
        nearest = out.levels[np.searchsorted(middles, padded / step)]
    rounded: FloatArray = (nearest * step).reshape(rows, -1)[:, :columns]
    if order is None:
        return rounded
    back = np.empty_like(rounded)
    back[:, order] = rounded
    return back


def _scaled(original: FloatArray, numbers: FloatArray) -> FloatArray:
    """``original`` with the scale for each column and row that brings it nearest to ``numbers``:
    medians, on which single weights that are far off have no say.

    Where one weight stretches the range of its group, most others come out as 0: then the largest
    tell.
    """
    for axis in (0, 1, 0):
        size = np.abs(original)
        scale = _ratio(original, numbers, size >= np.median(size, axis=axis, keepdims=True), axis)
        largest = size >= size.max(axis=axis, keepdims=True) / 2
        original = original * np.where(scale == 0, _ratio(original, numbers, largest, axis), scale)
    return original


def _ratio(
    original: FloatArray, numbers: FloatArray, mask: npt.NDArray[np.bool_], axis: int
) -> FloatArray:
    """The median of what ``mask`` weights became, in parts of what they were; 1 of none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(mask & (original != 0), numbers / original, np.nan)
    some = ~np.isnan(ratio).all(axis=axis, keepdims=True)
    medians: FloatArray = np.nanmedian(np.where(some, ratio, 1), axis=axis, keepdims=True)
    return medians


def _wrong(structure: Structure, name: str, like: Likeness) -> str:
    if 0 < like.flipped < _MANY * like.looked_at:
        problem = (
            f"{like.flipped} of {like.looked_at} weights came out at the other end of their "
            "group's range"
        )
    else:
        problem = (
            f"its weights differ from the source's by {like.error:.1%} (root mean square), and "
            f"rounding to the nearest with as many bits and groups by {like.rounding:.1%}"
        )
    return (
        f"{structure.folder}: {name} as {structure.modules[name].type}: {problem}; the tool wrote "
        "something else than the model: use another engine, other bits or another group size, or "
        f"skip the module (quantize.modules={{{name.split('.')[-1]}: skip}})"
    )


def _zeroed_notes(zeroed: Mapping[str, float]) -> list[str]:
    if not zeroed:
        return []
    name, most = max(zeroed.items(), key=lambda item: item[1])
    return [
        f"{len(zeroed)} matrices have columns that were set to 0, since no calibration token "
        f"reached them, such as {name} ({most:.0%} of its columns): give more text"
    ]
