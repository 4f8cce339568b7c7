"""GPTQ as AutoGPTQ wrote it first, and as gptqmodel and auto-round do.

A module has ``qweight`` (columns · bits / 32, rows) with the bits of consecutive columns of a row
in consecutive bits of a word, ``qzeros`` (groups, rows · bits / 32), ``scales`` (groups, rows) and
``g_idx`` (columns), the group of each column. The last word of a row or column may be filled up.
Source: AutoGPTQ, auto_gptq/nn_modules/qlinear/qlinear_cuda_old.py, ``QuantLinear.__init__``;
GPTQModel, gptqmodel/nn_modules/qlinear/__init__.py, ``PackableQuantLinear.pack_original``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from qpipe.errors import CheckpointError
from qpipe.packed.fields import Fields
from qpipe.packed.formats.base import (
    Packed,
    PackedFormat,
    Tensors,
    expect,
    group_label,
    groups,
    matrix,
    named,
    part,
)
from qpipe.support.patterns import matches

_SCALES = ("F16", "BF16", "F32")


_PLANES = "gptq_p"
_LAYOUTS = ("gptq", "gptq_v2", _PLANES)


class GptqFormat(PackedFormat):
    """The layouts gptq and gptq_v2, which differ in the meaning of zero points alone, and gptq_p
    (GPTQModel 7), in which the low bits of values lie apart from the high ones."""

    METHODS = ("gptq",)

    def unread(self, config: Fields) -> str | None:
        """Another layout, such as Marlin's of 2024."""
        layout = layout_of(config)
        return None if layout in _LAYOUTS else f"the layout {layout}"

    def label(self, config: Fields) -> str:
        """``GPTQ-4bit-g128-actorder``, as such models are named on the hub; ``-mixed`` where rules
        give some modules other bits or groups."""
        bits, size = config.bits(), config.group_size()
        rules = [rule for name, rule in config.sections("dynamic") if not name.startswith("-:")]
        mixed = "-mixed" if any(own(rule, config) != (bits, size) for rule in rules) else ""
        order = "-actorder" if config.flag("desc_act") else ""
        planes = "-planes" if layout_of(config) == _PLANES else ""
        return f"GPTQ-{bits}bit-{group_label(size)}{order}{planes}{mixed}"

    def modules(self, tensors: Tensors, config: Fields) -> Iterator[Packed]:
        """Raises CheckpointError."""
        for name in named(tensors, "qweight"):
            bits, size = of_module(name, config)
            yield _module(name, tensors, bits=bits, size=size)


def layout_of(config: Fields) -> str:
    """The layout's name, in lower case. Raises CheckpointError."""
    if config.flag("is_marlin_format"):
        return "marlin"
    return config.text("checkpoint_format", "format", default="gptq").lower()


def of_module(name: str, config: Fields) -> tuple[int, int]:
    """Bits and group size of a module: its rule's in ``dynamic`` (of which the first that matches
    from the beginning counts: GPTQModel, quantization/config.py, ``dynamic_get``), or all
    modules'. Raises CheckpointError."""
    for pattern, rule in config.sections("dynamic"):
        if not pattern.startswith("-:") and _matches(pattern.removeprefix("+:"), name, config):
            return own(rule, config)
    return config.bits(), config.group_size()


def own(rule: Fields, config: Fields) -> tuple[int, int]:
    """Bits and group size of a rule for single modules, where it has them, else the config's.

    Raises CheckpointError.
    """
    bits = rule.bits() if rule.has("bits") else config.bits()
    return bits, rule.group_size() if rule.has("group_size") else config.group_size()


def _matches(pattern: str, name: str, config: Fields) -> bool:
    try:
        return matches(pattern, name)
    except ValueError as error:
        raise CheckpointError(
            f"{config.path}: field 'dynamic' has {pattern!r:.80}, no usable regular expression "
            f"({error})"
        ) from None


def _module(name: str, tensors: Tensors, *, bits: int, size: int) -> Packed:
    weights, words, rows = matrix(tensors, name, "qweight", ("I32",))
    order = tensors.get(f"{name}.g_idx")
    columns = words * 32 // bits if order is None else math.prod(order.shape)
    if words != -(-columns * bits // 32):
        raise CheckpointError(
            f"{weights.origin}: {words} words of 32 bits are not what {columns} columns of "
            f"{bits} bits each take"
        )
    why = f"a matrix of {rows} × {columns} in {bits} bits and groups of {size}"
    count = groups(columns, size)
    expect(part(tensors, name, "scales", _SCALES), (count, rows), why)
    expect(part(tensors, name, "qzeros", ("I32",)), (count, -(-rows * bits // 32)), why)
    parts = [f"{name}.{suffix}" for suffix in ("qweight", "scales", "qzeros")]
    if f"{name}.g_idx" in tensors:
        expect(part(tensors, name, "g_idx", ("I32",)), (columns,), why)
        parts.append(f"{name}.g_idx")
    kind = f"GPTQ-{bits}bit-{group_label(size)}"
    return Packed(name, (rows, columns), kind, tuple(parts), bits, size)
