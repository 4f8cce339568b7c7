"""NVIDIA's ModelOpt, as it exports for Hugging Face: NVFP4 and FP8, in one checkpoint too.

NVFP4: ``weight`` U8 (rows, columns / 2), ``weight_scale`` F8_E4M3 (rows, columns / 16) and
``weight_scale_2`` F32, one number by which one multiplies too. FP8: ``weight`` F8_E4M3 (rows,
columns) and ``weight_scale`` F32, one number or one for each row.
Source: nvidia-modelopt 0.47, torch/export/quant_utils.py and unified_export_hf.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from qpipe.packed.fields import Fields
from qpipe.packed.formats import scaled
from qpipe.packed.formats.base import Packed, PackedFormat, Tensors, expect, matrix, named, part

_KINDS = {
    "NVFP4": "NVFP4",
    "W4A16_NVFP4": "NVFP4A16",
    "FP8": "FP8",
    "FP8_PER_CHANNEL_PER_TOKEN": "FP8-channel",
    "MIXED_PRECISION": "mixed",
}
_GROUP = 16


class ModelOptFormat(PackedFormat):
    """``quant_algo`` says which, in ``quantization`` where it is a file of its own."""

    METHODS = ("modelopt",)

    def unread(self, config: Fields) -> str | None:
        """Another algorithm."""
        kind = _own(config).text("quant_algo").upper()
        return None if kind in _KINDS else f"the algorithm {kind}"

    def label(self, config: Fields) -> str:
        """``NVFP4``, ``FP8``, or ``mixed``."""
        return _KINDS[_own(config).text("quant_algo").upper()]

    def tool(self, config: Fields) -> str | None:
        """The producer, with its version."""
        maker = config.section("producer")
        if not maker.has("name"):
            return super().tool(config)
        return f"{maker.text('name')} {maker.text('version', default='')}".strip()

    def aside(self, tensors: Tensors, config: Fields) -> Iterator[str]:
        """The KV cache's scales."""
        yield from scaled.of_cache(tensors)

    def modules(self, tensors: Tensors, config: Fields) -> Iterator[Packed]:
        """Raises CheckpointError."""
        for name in named(tensors, "weight_scale"):
            if part(tensors, name, "weight", ("U8", "F8_E4M3")).dtype == "U8":
                yield _nvfp4(name, tensors)
            else:
                yield scaled.one_byte(name, tensors)


def _own(config: Fields) -> Fields:
    return config.section("quantization") if config.has("quantization") else config


def _nvfp4(name: str, tensors: Tensors) -> Packed:
    weights, rows, pairs = matrix(tensors, name, "weight", ("U8",))
    why = f"a matrix of {rows} × {2 * pairs} in NVFP4"
    scale = part(tensors, name, "weight_scale", ("F8_E4M3",))
    expect(scale, (rows, -(-2 * pairs // _GROUP)), why)
    whole = part(tensors, name, "weight_scale_2", ("F32",))
    expect(whole, (1,) if whole.shape else (), why)
    parts = (weights.name, scale.name, whole.name, *scaled.beside(name, tensors))
    return Packed(name, (rows, 2 * pairs), "NVFP4", parts, 4, _GROUP)
