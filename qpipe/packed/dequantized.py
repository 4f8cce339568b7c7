"""A packed matrix as the model has it: computed from its parts, some rows at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qpipe.gguf.computed import ComputedTensor
from qpipe.gguf.types import GGMLType
from qpipe.packed.formats.base import Packed, Tensors
from qpipe.packed.values import half_byte
from qpipe.packed.values.base import ALIGNED, Strip
from qpipe.packed.values.exact import Read

# Weights at a time: numbers on the way to them take some bytes each.
_AT_ONCE = 1 << 20


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
        step = max(1, _AT_ONCE // (self.shape[-1] * ALIGNED)) * ALIGNED
        begin = start // ALIGNED * ALIGNED
        strips = [
            self.read(self._strip(first, min(first + step, stop)))
            for first in range(begin, stop, step)
        ]
        rows = strips[0] if len(strips) == 1 else np.concatenate(strips)
        return rows[start - begin :]

    def raw(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Rows in `kept`."""
        return half_byte.mxfp4_blocks(self._strip(start, stop))

    def _strip(self, first: int, stop: int) -> Strip:
        return Strip(self.module, self.parts, self.config, first, stop)
