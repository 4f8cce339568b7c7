"""Types that stand in for those that a quantization name gives, where rows do not fit their blocks.

llama-quantize warns of each, and of their number (llama.cpp, src/llama-quant.cpp,
tensor_type_fallback).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qpipe.gguf.types import GGMLType


@dataclass(frozen=True)
class Fallback:
    """A matrix whose rows of ``row`` weights became ``given`` in place of ``wanted``."""

    name: str
    row: int
    wanted: GGMLType
    given: GGMLType


def note(fallbacks: Sequence[Fallback], *, matrices: int) -> str:
    """One sentence on all of them, of a file of so many matrices."""
    pairs = dict.fromkeys((f.wanted.name, f.given.name) for f in fallbacks)
    stand_ins = ", ".join(f"{given} in place of {wanted}" for wanted, given in pairs)
    return (
        f"{len(fallbacks)} of {matrices} matrices have rows of {_either(f.row for f in fallbacks)} "
        f"weights, no multiple of {_either(f.wanted.block for f in fallbacks)}: {stand_ins}"
    )


def _either(numbers: Iterable[int]) -> str:
    *others, last = map(str, sorted(set(numbers)))
    return f"{', '.join(others)} or {last}" if others else last
