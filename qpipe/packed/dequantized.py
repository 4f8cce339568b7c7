"""A packed matrix as the model has it: computed from its parts, some rows at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.gguf.computed import ComputedTensor
from qpipe.gguf.quantizers import floats
from qpipe.gguf.types import GGMLType
from qpipe.packed.formats.base import Packed, Tensors
from qpipe.packed.values import half_byte
from qpipe.packed.values.base import ALIGNED, FloatArray, Strip
from qpipe.packed.values.exact import Read

# Weights at a time: they stay in the processor's cache from one step to the next.
_AT_ONCE = 1 << 17

_ROUND, _ODD, _KEPT = np.uint32(0x7FFF), np.uint32(1), np.uint32(0xFFFF0000)
_F16_OVERFLOWS = 65520.0


@dataclass(frozen=True)
class DequantizedTensor(ComputedTensor):
    """The numbers of ``module``, whose parts are among ``parts``, as ``read`` computes them.

    ``config`` is the checkpoint's ``quantization_config``.
    """

    module: Packed
    parts: Tensors
    config: Mapping[str, Any]
    read: Read

    @property
    def kept(self) -> GGMLType | None:
        """MXFP4 of gpt-oss."""
        return GGMLType.MXFP4 if self.module.parts[0].endswith("_blocks") else None

    def floats(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Rows, rounded as the library that packed them does. Raises CheckpointError for scales
        that are no finite numbers."""
        columns = self.shape[-1]
        rows = np.empty((stop - start, columns), np.float32)
        step = max(1, _AT_ONCE // (columns * ALIGNED)) * ALIGNED
        for first in range(start // ALIGNED * ALIGNED, stop, step):
            last = min(first + step, stop)
            numbers = rounded(self.read(self._strip(first, last)), self.dtype)
            rows[max(first - start, 0) : last - start] = numbers[max(start - first, 0) :]
        return rows

    def raw(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Rows in `kept`."""
        return half_byte.mxfp4_blocks(self._strip(start, stop))

    def _strip(self, first: int, stop: int) -> Strip:
        return Strip(self.module, self.parts, self.config, first, stop)


def rounded(numbers: FloatArray, dtype: str) -> FloatArray:
    """``numbers``, which may be overwritten, to the nearest of ``dtype``, ties to even, beyond its
    largest infinite, as torch does."""
    if dtype == "BF16":
        bits = np.ascontiguousarray(numbers).view(np.uint32)
        bits += ((bits >> np.uint32(16)) & _ODD) + _ROUND
        bits &= _KEPT
        return bits.view(np.float32)
    if dtype == "F16":
        if floats.largest(numbers) < _F16_OVERFLOWS:
            return floats.rounded(np.ascontiguousarray(numbers), GGMLType.F16)
        with np.errstate(over="ignore"):
            return numbers.astype(np.float16).astype(np.float32)
    return numbers
