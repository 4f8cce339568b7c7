"""bitsandbytes, as transformers saves it.

Four bits: ``weight`` U8 (count / 2, 1), ``weight.absmax`` a block, ``weight.quant_map`` and
``weight.quant_state.bitsandbytes__nf4``, whose bytes are JSON with the matrix's shape and block
size; with double quantization ``absmax`` is U8, beside ``nested_absmax`` and ``nested_quant_map``.
Eight bits: ``weight`` I8 (rows, columns), ``SCB`` F32 (rows), ``weight_format``.
Source: bitsandbytes, functional.py, ``QuantState.as_dict``; nn/modules.py, ``Linear8bitLt``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from qpipe.errors import CheckpointError
from qpipe.packed.formats.base import Format, Packed, Tensors, content, expect, named, part

_STATE = "weight.quant_state.bitsandbytes__"


class BitsAndBytes(Format):
    """NF4, FP4 and INT8."""

    METHODS = ("bitsandbytes",)

    def label(self, config: Mapping[str, Any]) -> str:
        """``bnb-NF4``, ``bnb-FP4`` or ``bnb-INT8``; ``-dq`` with double quantization."""
        if config.get("load_in_8bit"):
            return "bnb-INT8"
        nested = "-dq" if config.get("bnb_4bit_use_double_quant") else ""
        return f"bnb-{config['bnb_4bit_quant_type'].upper()}{nested}"

    def modules(self, tensors: Tensors, config: Mapping[str, Any]) -> Iterator[Packed]:
        """Raises CheckpointError."""
        if config.get("load_in_8bit"):
            for name in named(tensors, "SCB"):
                yield _int8(name, tensors)
        else:
            for name in named(tensors, f"{_STATE}{config['bnb_4bit_quant_type']}"):
                yield _four_bits(name, tensors, config["bnb_4bit_quant_type"])


def _int8(name: str, tensors: Tensors) -> Packed:
    weights = part(tensors, name, "weight", ("I8",))
    expect(part(tensors, name, "SCB", ("F32",)), weights.shape[:1], "a scale for each row")
    parts = [f"{name}.weight", f"{name}.SCB"]
    if f"{name}.weight_format" in tensors:
        parts.append(f"{name}.weight_format")
    return Packed(name, weights.shape, "bnb-INT8", tuple(parts), 8, -1)


def _four_bits(name: str, tensors: Tensors, kind: str) -> Packed:
    stored = part(tensors, name, f"{_STATE}{kind}", ("U8",))
    try:
        state = json.loads(content(stored))
        shape, block = tuple(map(int, state["shape"])), int(state["blocksize"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{stored.origin}: holds no usable state ({error})") from None
    count = math.prod(shape)
    why = f"a matrix of {' × '.join(map(str, shape))} in 4 bits and blocks of {block}"
    expect(part(tensors, name, "weight", ("U8",)), (-(-count // 2), 1), why)
    expect(part(tensors, name, "weight.absmax", ("F32", "U8")), (-(-count // block),), why)
    parts = tuple(key for key in tensors if key.startswith(f"{name}.weight"))
    return Packed(name, shape, f"bnb-{kind.upper()}", parts, 4, block)
