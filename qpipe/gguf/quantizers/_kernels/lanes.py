"""Superblocks into lanes, and what the C sums up before it looks for scales."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qpipe.gguf.quantizers._kernels.jit import LANES, SUPERBLOCK, Floats, inner


def loader(size: int) -> Callable[[Floats, int, int, Floats], None]:
    """A function (blocks, first, count, lanes) that loads sub-blocks of ``size``, one a lane."""
    per = SUPERBLOCK // size

    @inner
    def load(blocks: Floats, first: int, count: int, lanes: Floats) -> None:
        # Importances are one row, which starts again from its beginning with every row of weights.
        columns = blocks.size // SUPERBLOCK
        if count < LANES // per:
            lanes[:] = 0
        for block in range(count):
            start = (first + block) % columns * SUPERBLOCK
            for sub in range(per):
                source = blocks[start + sub * size : start + (sub + 1) * size]
                for i in range(size):
                    lanes[i * LANES + block * per + sub] = source[i]

    return load


@inner
def sub_block_squares(x: Floats, size: int, sums: Floats) -> None:
    """Σ x² of each lane, into the row of lanes ``sums``."""
    for k in range(LANES):
        sums[k] = 0
    for i in range(size):
        row = x[i * LANES : (i + 1) * LANES]
        for k in range(LANES):
            sums[k] += row[k] * row[k]


@inner
def superblock_squares(x: Floats, size: int, sums: Floats) -> None:
    """Σ x² of the whole superblock of each lane, added up in the order of its 256 weights."""
    per = SUPERBLOCK // size
    groups = LANES // per
    total = np.zeros(LANES, np.float32)
    for sub in range(per):
        for i in range(size):
            for block in range(groups):
                value = x[i * LANES + block * per + sub]
                total[block] += value * value
    for k in range(LANES):
        sums[k] = total[k // per]


@inner
def importances(x: Floats, size: int, sigma2: Floats, weights: Floats) -> None:
    """Turn the importances in ``weights`` into importance · √(σ² + x²); σ² is a row of lanes."""
    for i in range(size):
        row = x[i * LANES : (i + 1) * LANES]
        out = weights[i * LANES : (i + 1) * LANES]
        for k in range(LANES):
            out[k] = out[k] * np.sqrt(sigma2[k] + row[k] * row[k])


@inner
def squares(x: Floats, weights: Floats) -> None:
    """x² of every weight."""
    for i in range(x.size):
        weights[i] = x[i] * x[i]


@inner
def sizes(x: Floats, weights: Floats) -> None:
    """|x| of every weight."""
    for i in range(x.size):
        weights[i] = np.abs(x[i])
