"""What each method of a recipe writes: its layout and what it leaves as it is.

Everything here was seen in files that the engines wrote (tests/sizes/test_sizes_packed.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from qpipe.packed.formats.base import group_label
from qpipe.sizes import layouts
from qpipe.sizes.layouts import Parts
from qpipe.sizes.module_rules import BITS, GROUPS, ModuleWish
from qpipe.sizes.of_packed import ROUTERS, Packing, dtype_of
from qpipe.sizes.schemes import SCHEMES
from qpipe.sizes.settings import Settings
from qpipe.sizes.source import ModelSource

# Small gates too stay as they are in GPTQModel 7.6.0's definitions of architectures.
_GATES = re.compile(r"\.(shared_expert_gate|in_proj_(a|b|ba))$")


def _by_gptqmodel(name: str, rows: int, columns: int) -> bool:
    return (ROUTERS.search(name) or _GATES.search(name)) is not None


def _by_autoround(name: str, rows: int, columns: int) -> bool:
    # auto-round 0.15.1 packs no matrix with a side that 32 does not divide.
    return rows % 32 != 0 or columns % 32 != 0 or ROUTERS.search(name) is not None


def gptq(source: ModelSource, settings: Settings) -> Packing:
    """GPTQ's by GPTQModel and AutoGPTQ, compressed-tensors' by llm-compressor."""
    bits, size = _bits(settings, "wbits"), _size(settings, "groupsize")
    order = settings.flag("act_order") or settings.flag("desc_act")
    zeros = not settings.flag("sym", True)
    if _engine(settings) == "llmcompressor":
        return _integers(source, bits, size, zeros=zeros)
    label = f"GPTQ-{bits}bit-{group_label(size)}" + ("-actorder" if order else "")
    layout = _grouped(layouts.gptq, bits, size, dtype="F16")
    head = layout if settings.flag("lm_head") else None
    return Packing(label, layout, head, bias="F16", halves=True, left=_by_gptqmodel)


def awq(source: ModelSource, settings: Settings) -> Packing:
    """AutoAWQ's by itself and GPTQModel, compressed-tensors' by llm-compressor."""
    bits, size = _bits(settings, "w_bit"), _size(settings, "q_group_size")
    version = settings.text("version", "gemm", choices=("gemm", "gemv"))
    if _engine(settings) == "llmcompressor":
        return _integers(source, bits, size, zeros=settings.flag("zero_point", True))
    pack = layouts.awq_gemv if version == "gemv" else layouts.awq_gemm
    label = f"AWQ-{bits}bit-{group_label(size)}" + ("-GEMV" if version == "gemv" else "")
    layout = _grouped(pack, bits, size, dtype="F16")
    return Packing(label, layout, bias="F16", halves=True, left=_by_gptqmodel)


def rtn(source: ModelSource, settings: Settings) -> Packing:
    """compressed-tensors' words of 32 bits."""
    bits, size = _bits(settings, "wbits"), _size(settings, "groupsize")
    return _integers(source, bits, size, zeros=not settings.flag("sym", True))


def int8(source: ModelSource, settings: Settings) -> Packing:
    """torchao's bytes, or compressed-tensors'."""
    schemes = ("w8a16", "w8a8", "weight-only", "weight_only", "dynamic")
    scheme = settings.text("scheme", "w8a16", choices=schemes)
    dynamic, dtype = scheme in ("w8a8", "dynamic"), dtype_of(source)
    if _engine(settings) == "llmcompressor":
        if not dynamic:
            return _integers(source, 8, -1, zeros=False)
        return Packing("W8A8", _plain(layouts.bytes_by_row, kind="I8", dtype=dtype))
    label = "ao-W8A8" if dynamic else "ao-W8A16"
    said = partial(_torchao_metadata, dynamic=dynamic, dtype=source.dtype)
    return Packing(label, _plain(layouts.torchao), metadata=said)


def _torchao_metadata(columns: int, *, dynamic: bool, dtype: str) -> dict[str, Any]:
    """The note on a matrix in a file's metadata (torchao 0.18)."""
    per_row = {"_type": "PerRow", "_data": {"dim": -1}}
    symmetric = {"_type": "MappingType", "_data": "SYMMETRIC"}
    inputs = {"granularity": per_row, "mapping_type": symmetric, "reduce_range": False}
    own = {
        "act_quant_kwargs": {"_type": "QuantizeTensorToInt8Kwargs", "_data": inputs}
        if dynamic
        else None,
        "reduce_range": False,
        "block_size": [1, columns],
        "dtype": {"_type": "torch.dtype", "_data": dtype},
    }
    names = ["zero_point", "qdata", "scale"]
    return {"_type": "Int8Tensor", "_data": own, "_tensor_data_names": names}


def bnb(source: ModelSource, settings: Settings) -> Packing:
    """bitsandbytes' four bits, or eight."""
    spelled = "bnb_4bit_quant_type" if settings.fields.get("bnb_4bit_quant_type") else "type"
    kind = settings.text(spelled, "nf4", choices=("nf4", "fp4", "int8"))
    double = settings.flag("double_quant") or settings.flag("bnb_4bit_use_double_quant")
    if kind == "int8":
        return Packing("bnb-INT8", _plain(layouts.bitsandbytes_8bit))
    dtype = source.dtype or "bfloat16"
    pack = partial(layouts.bitsandbytes_4bit, kind=kind, double=double, dtype=dtype)
    return Packing(f"bnb-{kind.upper()}" + ("-dq" if double else ""), _plain(pack))


def autoround(source: ModelSource, settings: Settings) -> Packing:
    """The layout that ``format`` names; a GGUF file's is of another room."""
    bits, size = _bits(settings), _size(settings)
    form = settings.text("format", "auto_gptq")
    if form == "llm_compressor":
        return replace(_integers(source, bits, size, zeros=False), left=_by_autoround)
    if form == "auto_awq":
        label = f"AWQ-{bits}bit-{group_label(size)}"
        layout = _grouped(layouts.awq_gemm, bits, size, dtype="F16")
        return Packing(label, layout, halves=True, left=_by_autoround)
    label = "AutoRound" if form == "auto_round" else "GPTQ"
    order = form != "auto_round"
    layout = _grouped(layouts.gptq, bits, size, dtype="F16", order=order)
    label = f"{label}-{bits}bit-{group_label(size)}"
    return Packing(label, layout, halves=True, left=_by_autoround)


def _integers(source: ModelSource, bits: int, size: int, *, zeros: bool) -> Packing:
    label = f"W{bits}A16" + ("" if size == -1 else f"-{group_label(size)}")
    dtype = dtype_of(source)
    return Packing(label, _grouped(layouts.packed_integers, bits, size, dtype=dtype, zeros=zeros))


def _grouped(
    pack: Callable[..., Parts], bits: int, size: int, **more: Any
) -> Callable[[int, int, ModuleWish], Parts]:
    """A layout with bits and group size, which a module's rule may have otherwise."""

    def layout(rows: int, columns: int, wish: ModuleWish) -> Parts:
        own = {"bits": wish.bits or bits, "size": wish.group_size or size}
        return pack(rows, columns, **own, **more)

    return layout


def _plain(pack: Callable[..., Parts], **more: Any) -> Callable[[int, int, ModuleWish], Parts]:
    return lambda rows, columns, wish: pack(rows, columns, **more)


def _engine(settings: Settings) -> str:
    return settings.text("engine", "")


def _bits(settings: Settings, *others: str) -> int:
    return settings.number("bits", 4, *others, choices=BITS)


def _size(settings: Settings, *others: str) -> int:
    return settings.number("group_size", 128, *others, choices=GROUPS)


PACKINGS: Mapping[str, Callable[[ModelSource, Settings], Packing]] = {
    "gptq": gptq, "awq": awq, "rtn": rtn, "int8": int8, "bnb": bnb, "autoround": autoround,
    **SCHEMES,
}  # fmt: skip
