"""MXFP4 as OpenAI published gpt-oss: experts alone, all of a layer in one tensor.

``NAME_blocks`` U8 (experts, rows, groups, 16), two numbers a byte, and ``NAME_scales`` U8 (experts,
rows, groups), a power of two for each group of 32.
Source: transformers 5.17, integrations/mxfp4.py, ``convert_moe_packed_tensors``.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpipe.errors import CheckpointError
from qpipe.packed.fields import Fields
from qpipe.packed.formats.base import Packed, PackedFormat, Tensors, expect

_BLOCKS, _SCALES = "_blocks", "_scales"


class Mxfp4Format(PackedFormat):
    """There is one form."""

    METHODS = ("mxfp4",)

    def label(self, config: Fields) -> str:
        """``MXFP4``."""
        return "MXFP4"

    def modules(self, tensors: Tensors, config: Fields) -> Iterator[Packed]:
        """Raises CheckpointError."""
        for name in tensors:
            if name.endswith(_BLOCKS):
                yield _experts(name.removesuffix(_BLOCKS), tensors)


def _experts(name: str, tensors: Tensors) -> Packed:
    blocks = tensors[f"{name}{_BLOCKS}"]
    if blocks.dtype != "U8" or len(blocks.shape) != 4 or blocks.shape[3] != 16:
        raise CheckpointError(f"{blocks.origin} is {blocks.dtype} {list(blocks.shape)}")
    scales = tensors.get(f"{name}{_SCALES}")
    if scales is None or scales.dtype != "U8":
        raise CheckpointError(f"{blocks.origin} has no {name}{_SCALES} of type U8")
    experts, rows, groups, _ = blocks.shape
    expect(scales, (experts, rows, groups), f"experts of {list(blocks.shape)}")
    shape = (experts, rows, groups * 32)
    return Packed(name, shape, "MXFP4", (blocks.name, scales.name), 4, 32)
