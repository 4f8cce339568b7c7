"""bitsandbytes: 4 bits are places in a table, times the largest of their block; the first of two is
in a byte's upper half. 8 bits are 127ths of the largest of a row.

Source: bitsandbytes 0.50, functional.py, ``dequantize_4bit`` and ``int8_vectorwise_dequant``.
"""

from __future__ import annotations

import json

import numpy as np

from qpipe.packed.formats.base import content
from qpipe.packed.values.base import FloatArray, Strip, Values

_127TH = np.float32(7.874015718698502e-3)  # as bitsandbytes has it


def read(part: Strip) -> Values:
    """Rows of a matrix; of 4 bits in one row, since blocks run over the ends of rows."""
    if part.has("SCB"):
        rows = slice(part.first, part.stop)
        scale = part.scales("SCB", rows)[:, None]
        numbers = part.array("weight")[rows].astype(np.float32) * scale * _127TH
        return Values(numbers, lambda: (-scale, scale))
    return _four_bits(part)


def _four_bits(part: Strip) -> Values:
    columns, block = part.module.shape[1], part.module.group_size or 64
    first, stop = part.first * columns, part.stop * columns
    stored = part.array("weight").reshape(-1).view(np.uint8)
    bytes_ = stored[first // 2 : -(-stop // 2)]
    codes = np.stack([bytes_ >> 4, bytes_ & 15], -1).reshape(-1)[: stop - first]
    largest = _largest(part, first // block, -(-stop // block))
    at = np.arange(first, stop) // block - first // block
    high = largest[at][None]
    numbers = np.take(part.floats("weight.quant_map"), codes)[None] * high
    return Values(numbers, lambda: (-high, high))


def _largest(part: Strip, first: int, stop: int) -> FloatArray:
    """The largest of each block from ``first`` to ``stop``; they may be quantized too, in blocks of
    their own."""
    if not part.has("weight.nested_absmax"):
        return part.scales("weight.absmax", slice(first, stop))
    (name,) = (name for name in part.module.parts if ".quant_state.bitsandbytes__" in name)
    state = json.loads(content(part.tensors[name]))
    block = np.arange(first, stop) // int(state["nested_blocksize"])
    codes = part.array("weight.absmax")[first:stop]
    scaled = part.floats("weight.nested_quant_map")[codes]
    scales: FloatArray = scaled * part.scales("weight.nested_absmax")[block]
    return scales + np.float32(state["nested_offset"])
