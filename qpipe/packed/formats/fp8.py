"""FP8 with block scales, as DeepSeek and Qwen publish their models.

``weight`` F8_E4M3 (rows, columns) and ``weight_scale_inv`` (blocks of rows, blocks of columns), by
which, for all its name, one multiplies; without blocks it is one number. Experts in one tensor have
``NAME`` and ``NAME_scale_inv`` with a dimension in front.
Source: transformers 5.17, integrations/finegrained_fp8.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpipe.packed.fields import Fields
from qpipe.packed.formats import scaled
from qpipe.packed.formats.base import Packed, PackedFormat, Tensors, expect, named
from qpipe.packed.formats.compressed import blocks

_SCALES = "_scale_inv"


class Fp8Format(PackedFormat):
    """``weight_block_size`` says which."""

    METHODS = ("fp8",)

    def label(self, config: Fields) -> str:
        """``FP8-block`` or ``FP8``."""
        return "FP8-block" if blocks(config, "weight_block_size") else "FP8"

    def aside(self, tensors: Tensors, config: Fields) -> Iterator[str]:
        """The KV cache's scales."""
        yield from scaled.of_cache(tensors)

    def modules(self, tensors: Tensors, config: Fields) -> Iterator[Packed]:
        """Raises CheckpointError."""
        block = blocks(config, "weight_block_size")
        for name in named(tensors, f"weight{_SCALES}"):
            yield scaled.one_byte(name, tensors, scales=f"weight{_SCALES}", block=block)
        for name in tensors:
            own = name.removesuffix(_SCALES)
            if own != name and not own.endswith(".weight") and own in tensors:
                yield _experts(own, tensors, block)


def _experts(name: str, tensors: Tensors, block: tuple[int, int] | None) -> Packed:
    weights, scale = tensors[name], tensors[f"{name}{_SCALES}"]
    high, wide = block or (1 << 31, 1 << 31)
    *first, rows, columns = (1, 1, *weights.shape)[-max(2, len(weights.shape)) :]
    why = f"experts of {list(weights.shape)} in blocks"
    expect(scale, (*first, -(-rows // high), -(-columns // wide)), why)
    return Packed(name, weights.shape, "FP8", (name, scale.name), 8, None)
