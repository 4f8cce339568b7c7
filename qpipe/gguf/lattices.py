"""Tensors whose weights lie on a lattice of the type that they are to have: whole multiples of a
step in each block, as quantization-aware training or an INT4 or INT8 checkpoint leaves them.

ggml takes a block's step from its largest weight, as if that were at the last level; where it is
not, a model that was exact comes out as far off as any other. Which tensors lie on a lattice is
judged by a sample of their blocks, which their shapes alone decide; of those, every block that is
on one gets its own step, and any other is as ggml writes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qpipe import errors
from qpipe.gguf.types import FLOATS, GGMLType

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

TYPES = {
    GGMLType.Q4_0: (8, False),
    GGMLType.Q4_1: (15, True),
    GGMLType.Q5_0: (16, False),
    GGMLType.Q5_1: (31, True),
    GGMLType.Q8_0: (128, False),
    GGMLType.Q4_K: (8, False),
    GGMLType.Q5_K: (16, False),
    GGMLType.Q6_K: (32, False),
}
"""The types that can keep one: how many levels lie on a side of zero, or above a minimum of its own
where there is one."""

NOTED = "qpipe.lattice_tensors"
"""Metadata of a file: how many of its tensors keep a lattice."""

_POSITIVE = (GGMLType.Q4_K, GGMLType.Q5_K)
_BLOCK = 32
_ROWS, _PER_ROW, _FEW = 4, 16, 4  # rows of a sample, blocks of a row, blocks that are asked first
# BF16 rounds a weight by 2⁻⁸ of itself at most, and so the largest by which it is judged.
_NEAR = 2.1 * 2.0**-8
_ENDS, _ALL = 1.05 * 2.0**-8, 0.25
_BY_CHANCE = 1e-6
_SHARE = 0.9
_ON = 2  # _kernels/lattice.py


@dataclass(frozen=True)
class Kept:
    """A count of ``blocks`` that are not all zero, and of those that keep a lattice's step."""

    on: int = 0
    blocks: int = 0

    def __add__(self, other: Kept) -> Kept:
        return Kept(self.on + other.on, self.blocks + other.blocks)

    @property
    def whole(self) -> bool:
        """True if the tensor as a whole is on its lattice."""
        return self.on > 0 and self.on >= _SHARE * self.blocks


def found(kind: GGMLType, n_rows: int, n_per_row: int, rows: Callable[[int, int], Floats]) -> bool:
    """True if a sample says that a tensor lies on a lattice of ``kind``.

    ``rows`` gives those from one number to another, of the first ``n_rows`` of the tensor.
    """
    sample = _sample(n_rows, n_per_row, rows)
    first = next(sample)
    few = first[:: -(-len(first) // _FEW)]
    return not _all_off(kind, few) and _mostly_on(kind, np.concatenate([first, *sample]))


def _sample(n_rows: int, n_per_row: int, rows: Callable[[int, int], Floats]) -> Iterator[Floats]:
    """Blocks of some rows, evenly apart and not always in the same columns."""
    per_row = n_per_row // _BLOCK
    step = -(-per_row // _PER_ROW)
    for number, row in enumerate(sorted({n_rows * i // _ROWS for i in range(_ROWS)})):
        blocks = rows(row, row + 1).reshape(per_row, _BLOCK)
        yield blocks[number * step // _ROWS :: step]


def _all_off(kind: GGMLType, blocks: Floats) -> bool:
    """True for some blocks none of which is on a lattice, as those of nearly all models are."""
    off, _ = _judged(kind, blocks)
    return bool(off.all())


def _mostly_on(kind: GGMLType, blocks: Floats) -> bool:
    """True if nearly all blocks are on a lattice, and some so that it is no accident."""
    off, tells = _judged(kind, blocks)
    return bool(tells.any() and tells.sum() * (1 - _SHARE) >= off.sum() * _SHARE)


def _judged(kind: GGMLType, blocks: Floats) -> tuple[Flags, Flags]:
    """Tell which blocks are on no lattice of the type, and which are on one by no accident."""
    top, affine = TYPES[kind]
    with np.errstate(all="ignore"):  # of weights that are no numbers nothing fits
        if affine:
            scaled, near = _affine(blocks, top)
        else:
            scaled, near = _symmetric(blocks, top, positive=kind in _POSITIVE)
        fits = (np.abs(scaled - np.rint(scaled)) <= near).all(axis=2)
        off = blocks.any(axis=1) & ~fits.any(axis=1)
        if off.all():
            return off, ~off
        chance = np.minimum(1, np.where(near > 0, 2 * near, 1)).prod(axis=2)
    return off, (fits & (chance * top < _BY_CHANCE)).any(axis=1)


def _symmetric(blocks: Floats, top: int, *, positive: bool) -> tuple[Floats, Floats]:
    """Weights [blocks, m, 32] in steps of which the largest is m, for each m, and how far from a
    level rounding may have taken them; ``positive`` steps have no level ``top``, only -``top``."""
    m = np.arange(1, top + 1, dtype=np.float32)
    size = np.abs(blocks).max(axis=1)
    scaled = np.abs(blocks)[:, None, :] * (m / size[:, None])[:, :, None]
    near = np.float32(_NEAR) * scaled
    if positive:
        near[(scaled > top - 0.5) & (blocks > 0)[:, None, :]] = np.nan
    return scaled, near


def _affine(blocks: Floats, top: int) -> tuple[Floats, Floats]:
    """The same above the lowest weight, which is level zero."""
    m = np.arange(1, top + 1, dtype=np.float32)[None, :, None]
    low, high = blocks.min(axis=1)[:, None, None], blocks.max(axis=1)[:, None, None]
    inverse = m / (high - low)
    scaled = (blocks[:, None, :] - low) * inverse
    ends = np.abs(low) + np.abs(high)
    rounded = np.abs(blocks[:, None, :]) + np.abs(low) + scaled / m * ends
    near = np.float32(_ENDS) * rounded * inverse
    near[near >= _ALL] = np.nan  # so far that anything would fit
    return scaled, near


def keep(rows: Floats, encoded: Bytes, kind: GGMLType) -> Kept:
    """Put the blocks that are on a lattice in the place of ggml's in ``encoded``.

    ``rows`` [rows, n_per_row], ``encoded`` [rows, bytes per row], which is changed.
    """
    from qpipe.gguf.quantizers import _compiled

    name, nbytes = f"lattice_{kind.name.lower()}", kind.value[2]
    made = _compiled.run(name, rows, block=kind.block, block_bytes=nbytes + 1)
    on = made[:, 0] == _ON
    encoded.reshape(-1, nbytes)[on] = made[on, 1:]
    return Kept(int(on.sum()), int((made[:, 0] > 0).sum()))


def whole(kept: Mapping[str, Kept]) -> list[str]:
    """The tensors that keep their lattice."""
    return [name for name, blocks in kept.items() if blocks.whole]


def note(names: Collection[str], types: Mapping[str, GGMLType]) -> str:
    """Count in a sentence the tensors that keep their lattice, out of those that could."""
    counts = Counter(types[name].name for name in names)
    kinds = ", ".join(f"{number} {kind}" for kind, number in counts.items())
    quantized = sum(kind not in FLOATS for kind in types.values())
    return (
        f"{len(names)} of {quantized} quantized tensors ({kinds}) lie on a lattice of their type "
        "and keep its scales; quantize.scales=ggml takes llama.cpp's"
    )


def refusal(types: Iterable[GGMLType]) -> errors.RecipeError:
    """Why a file is not made of which a recipe says that it keeps a lattice."""
    counts = Counter(kind.name for kind in types if kind in TYPES)
    if not counts:
        names = ", ".join(kind.name for kind in TYPES)
        return errors.RecipeError(
            f"quantize.scales is lattice, and no tensor is of a type that can keep one ({names}); "
            "choose such a quantize.type, or set quantize.scales=auto"
        )
    made = ", ".join(f"{number} {kind}" for kind, number in counts.items())
    return errors.RecipeError(
        f"quantize.scales is lattice, and none of the tensors that could keep one ({made}) lies on "
        "a lattice of its type; choose as quantize.type what the model was trained for, or set "
        "quantize.scales=auto"
    )
