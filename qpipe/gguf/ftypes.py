"""What a quantization name means: the number in ``general.file_type`` and the default type.

Source: llama.cpp, include/llama.h (enum llama_ftype) and src/llama-quant.cpp
(llama_ftype_get_default_type). Which type each tensor then gets is decided in `mixture`.
"""

from __future__ import annotations

from dataclasses import dataclass

from qpipe import errors
from qpipe.gguf import types
from qpipe.gguf.types import GGMLType

NUMBERS = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9,
    "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15,
    "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ2_XXS": 19, "IQ2_XS": 20, "Q2_K_S": 21,
    "IQ3_XS": 22, "IQ3_XXS": 23, "IQ1_S": 24, "IQ4_NL": 25, "IQ3_S": 26, "IQ3_M": 27,
    "IQ2_S": 28, "IQ2_M": 29, "IQ4_XS": 30, "IQ1_M": 31, "BF16": 32, "TQ1_0": 36,
    "TQ2_0": 37, "MXFP4_MOE": 38, "NVFP4": 39, "Q1_0": 40, "Q2_0": 41,
}  # fmt: skip


@dataclass(frozen=True)
class FileType:
    """A quantization name that qpipe writes."""

    name: str
    number: int
    default: GGMLType

    @property
    def quantized(self) -> bool:
        """False for F32, F16 and BF16, which change every matrix alike."""
        return self.default not in types.FLOATS


# llama_ftype_get_default_type, where the type is not called like the file.
_DEFAULTS = {
    "Q2_K_S": "Q2_K", "Q3_K_S": "Q3_K", "Q3_K_M": "Q3_K", "Q3_K_L": "Q3_K",
    "Q4_K_S": "Q4_K", "Q4_K_M": "Q4_K", "Q5_K_S": "Q5_K", "Q5_K_M": "Q5_K",
    "IQ2_S": "IQ2_XS", "IQ2_M": "IQ2_S", "IQ3_XS": "IQ3_S", "IQ3_M": "IQ3_S",
    "MXFP4_MOE": "MXFP4",
}  # fmt: skip

# Of NVFP4, llama-quantize knows the number alone; Q2_0 is read, and written by nothing here.
FILE_TYPES = {
    name: FileType(name, number, GGMLType[_DEFAULTS.get(name, name)])
    for name, number in NUMBERS.items()
    if name not in ("NVFP4", "Q2_0")
}

# tools/quantize/quantize.cpp, QUANT_OPTIONS.
ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}


def file_type(name: str) -> FileType:
    """The entry for ``name`` (any case, or an alias such as Q4_K for Q4_K_M).

    `RecipeError` with the near misses otherwise.
    """
    upper = name.upper()
    try:
        return FILE_TYPES[ALIASES.get(upper, upper)]
    except KeyError:
        hint = errors.nearest(upper, FILE_TYPES)
        raise errors.RecipeError(f"{name!r} is no quantization that qpipe writes; {hint}") from None


def name_of(number: object) -> str:
    """The name behind ``general.file_type``."""
    return next((name for name, n in NUMBERS.items() if n == number), f"unknown ({number})")
