"""Superblocks into lanes, and what the C sums up before it looks for scales."""

from __future__ import annotations

import numpy as np

from qpipe.gguf.quantizers._kernels.jit import LANES, SUPERBLOCK, Floats, inner


@inner
def load(blocks: Floats, first: int, count: int, size: int, lanes: Floats) -> None:
    """Superblocks ``first`` … ``first + count`` in sub-blocks of ``size``, one a lane.

    Lanes beyond the last superblock become zero. An array of importances shorter than ``blocks``
    starts again from its beginning with every row.
    """
    columns = blocks.size // SUPERBLOCK
    per = SUPERBLOCK // size
    for block in range(LANES // per):
        if block < count:
            start = (first + block) % columns * SUPERBLOCK
            for sub in range(per):
                for i in range(size):
                    lanes[i * LANES + block * per + sub] = blocks[start + sub * size + i]
        else:
            for sub in range(per):
                for i in range(size):
                    lanes[i * LANES + block * per + sub] = 0


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
