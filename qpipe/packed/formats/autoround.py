"""AutoRound's own way: the layout of GPTQ, AWQ or compressed-tensors, and a ``quantization_config``
of its own.

Source: auto-round 0.15, auto_round/export/export_to_autoround: export.py, export_to_fp8.py,
export_to_nvfp_mxfp.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from qpipe.packed.fields import Fields
from qpipe.packed.formats import scaled
from qpipe.packed.formats.awq import AwqFormat
from qpipe.packed.formats.base import Packed, PackedFormat, Tensors, group_label, named
from qpipe.packed.formats.compressed import blocks
from qpipe.packed.formats.fp8 import Fp8Format
from qpipe.packed.formats.gptq import GptqFormat

_TYPES = {"int": "", "fp": "FP", "mx_fp": "MXFP", "nv_fp": "NVFP"}
_EARLIER = {
    "fp8": "fp",
    "nv_fp4": "nv_fp",
    "nv_fp4_with_static_gs": "nv_fp",
    "mx_fp_rceil": "mx_fp",
}


class AutoRoundFormat(PackedFormat):
    """``packing_format`` says which; ``extra_config`` what single modules have of their own."""

    METHODS = ("auto-round",)

    def unread(self, config: Fields) -> str | None:
        """Another type of number."""
        kind = _type(config)
        return None if kind in _TYPES else f"the data type {kind}"

    def label(self, config: Fields) -> str:
        """``AutoRound-4bit-g128``, ``AutoRound-NVFP4``, …, whatever the layout."""
        if (kind := _TYPES[_type(config)]) != "":
            return f"AutoRound-{kind}{config.bits()}" + ("-block" if _blocks(config) else "")
        return f"AutoRound-{config.bits()}bit-{group_label(config.group_size())}"

    def modules(self, tensors: Tensors, config: Fields) -> Iterator[Packed]:
        """Raises CheckpointError."""
        if _type(config) != "int":
            return _floats(tensors, config)
        if "awq" in config.text("packing_format", default="auto_round:auto_gptq"):
            return AwqFormat().modules(
                tensors, replace(config, values={**config.values, "version": "gemm"})
            )
        rules = {
            f"+:^{re.escape(name)}$": dict(rule.values)
            for name, rule in config.sections("extra_config")
        }
        return GptqFormat().modules(
            tensors, replace(config, values={**config.values, "dynamic": rules})
        )


def _type(config: Fields) -> str:
    name = config.text("data_type", default="int")
    return _EARLIER.get(name, name)


def _blocks(config: Fields) -> tuple[int, int] | None:
    return blocks(config, "weight_block_size")


def _floats(tensors: Tensors, config: Fields) -> Iterator[Packed]:
    yield from Fp8Format().modules(tensors, config)
    for name in named(tensors, "weight_packed"):
        yield scaled.half_byte(name, tensors)
    size = -1 if _blocks(config) else config.group_size(default=-1)
    for name in named(tensors, "weight_scale"):
        if f"{name}.weight" in tensors:
            yield scaled.one_byte(name, tensors, sizes=[size])
