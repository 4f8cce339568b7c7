"""What a quantization name means: the number in ``general.file_type`` and the default type.

Source: llama.cpp, include/llama.h (enum llama_ftype) and src/llama-quant.cpp
(llama_ftype_get_default_type). Which type each tensor then gets is decided in `mixture`.
"""

from __future__ import annotations

from dataclasses import dataclass

from gguf import LlamaFileType

from qpipe import errors
from qpipe.gguf import types
from qpipe.gguf.types import GGMLType


@dataclass(frozen=True)
class FileType:
    """A quantization name."""

    name: str
    number: int
    default: GGMLType

    @property
    def quantized(self) -> bool:
        """False for F32, F16 and BF16, which change every matrix alike."""
        return self.default not in types.FLOATS


FILE_TYPES = {
    name: FileType(name, int(number), GGMLType[name])
    for name, number in {
        "F32": LlamaFileType.ALL_F32,
        "F16": LlamaFileType.MOSTLY_F16,
        "BF16": LlamaFileType.MOSTLY_BF16,
        "Q8_0": LlamaFileType.MOSTLY_Q8_0,
        "Q5_0": LlamaFileType.MOSTLY_Q5_0,
        "Q5_1": LlamaFileType.MOSTLY_Q5_1,
        "Q4_0": LlamaFileType.MOSTLY_Q4_0,
        "Q4_1": LlamaFileType.MOSTLY_Q4_1,
    }.items()
}


def file_type(name: str) -> FileType:
    """The entry for ``name`` (any case); `RecipeError` with the near misses otherwise."""
    try:
        return FILE_TYPES[name.upper()]
    except KeyError:
        known = errors.nearest(name.upper(), FILE_TYPES)
        raise errors.RecipeError(
            f"{name!r} is no quantization that qpipe writes; {known}"
        ) from None


def name_of(number: int) -> str:
    """The name behind ``general.file_type``, as llama.cpp prints it."""
    try:
        return LlamaFileType(number).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    except ValueError:
        return f"unknown ({number})"
