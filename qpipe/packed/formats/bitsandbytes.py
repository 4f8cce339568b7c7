"""bitsandbytes, as transformers saves it.

Four bits: ``weight`` (numbers, 1), half a byte for each of the matrix, whatever type they are
stored in (``bnb_4bit_quant_storage``); ``weight.absmax`` a block, ``weight.quant_map`` and
``weight.quant_state.bitsandbytes__nf4``, whose bytes are JSON with the matrix's shape and block
size; with double quantization ``absmax`` is U8, beside ``nested_absmax`` and ``nested_quant_map``.
Eight bits: ``weight`` I8 (rows, columns), ``SCB`` F32 (rows), ``weight_format``.
Source: bitsandbytes 0.50, functional.py, ``QuantState.as_dict``; nn/modules.py, ``Linear8bitLt``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from qpipe.errors import CheckpointError
from qpipe.gguf import jsonfile
from qpipe.gguf.safetensors import DTYPE_BYTES, StoredTensor
from qpipe.packed.fields import Fields
from qpipe.packed.formats.base import (
    Packed,
    PackedFormat,
    Tensors,
    content,
    expect,
    matrix,
    named,
    part,
)

_STATE = "weight.quant_state.bitsandbytes__"
_STORAGE = ("U8", "BF16", "F16", "F32")
_KINDS = ("nf4", "fp4")


class BitsAndBytesFormat(PackedFormat):
    """NF4, FP4 and INT8."""

    METHODS = ("bitsandbytes",)

    def unread(self, config: Fields) -> str | None:
        """Another type of four bits."""
        kind = _kind(config)
        return None if config.flag("load_in_8bit") or kind in _KINDS else f"the type {kind}"

    def label(self, config: Fields) -> str:
        """``bnb-NF4``, ``bnb-FP4`` or ``bnb-INT8``; ``-dq`` with double quantization."""
        if config.flag("load_in_8bit"):
            return "bnb-INT8"
        nested = "-dq" if config.flag("bnb_4bit_use_double_quant") else ""
        return f"bnb-{_kind(config).upper()}{nested}"

    def modules(self, tensors: Tensors, config: Fields) -> Iterator[Packed]:
        """Raises CheckpointError."""
        if config.flag("load_in_8bit"):
            for name in named(tensors, "SCB"):
                yield _int8(name, tensors)
        else:
            for name in named(tensors, f"{_STATE}{_kind(config)}"):
                yield _four_bits(name, tensors, _kind(config))


def _kind(config: Fields) -> str:
    # The default of transformers 5.17's BitsAndBytesConfig.
    return config.text("bnb_4bit_quant_type", default="fp4")


def _int8(name: str, tensors: Tensors) -> Packed:
    weights, rows, columns = matrix(tensors, name, "weight", ("I8",))
    expect(part(tensors, name, "SCB", ("F32",)), (rows,), "a scale for each row")
    parts = [weights.name, f"{name}.SCB"]
    if f"{name}.weight_format" in tensors:
        parts.append(f"{name}.weight_format")
    return Packed(name, (rows, columns), "bnb-INT8", tuple(parts), 8, -1)


def _four_bits(name: str, tensors: Tensors, kind: str) -> Packed:
    state = _state(part(tensors, name, f"{_STATE}{kind}", ("U8",)))
    shape = _shape(state)
    block = state.integer("blocksize", least=1, most=1 << 20)
    count = math.prod(shape)
    why = f"a matrix of {' × '.join(map(str, shape))} in 4 bits and blocks of {block}"
    weights = part(tensors, name, "weight", _STORAGE)
    expect(weights, (-(-count // 2 // DTYPE_BYTES[weights.dtype]), 1), why)
    scales = part(tensors, name, "weight.absmax", ("F32", "U8"))
    expect(scales, (-(-count // block),), why)
    if scales.dtype == "U8":
        _nested(name, tensors, scales, state)
    parts = tuple(key for key in tensors if key.startswith(f"{name}.weight"))
    return Packed(name, shape, f"bnb-{kind.upper()}", parts, 4, block)


def _nested(name: str, tensors: Tensors, scales: StoredTensor, state: Fields) -> None:
    """Without these the codes of scales would be taken for scales."""
    block = state.integer("nested_blocksize", least=1, most=1 << 20)
    why = f"scales in blocks of {block}"
    own = part(tensors, name, "weight.nested_absmax", ("F32",))
    expect(own, (-(-scales.shape[0] // block),), why)
    expect(part(tensors, name, "weight.nested_quant_map", ("F32",)), (256,), why)


def _state(stored: StoredTensor) -> Fields:
    try:
        return Fields(stored.path, stored.name, jsonfile.parse(content(stored)))
    except ValueError as error:
        raise CheckpointError(f"{stored.origin}: holds no usable state ({error})") from None


def _shape(state: Fields) -> tuple[int, ...]:
    value = state.values.get("shape")
    listed = value if isinstance(value, list) and 1 <= len(value) <= 3 else [None]
    if not all(type(size) is int and 0 < size < 1 << 40 for size in listed):
        raise state.bad("shape", "the numbers of rows and columns")
    return tuple(listed)
